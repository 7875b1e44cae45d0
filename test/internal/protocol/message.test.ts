import { assert, describe, it } from "@effect/vitest"
import { Binary, decodeText, Text } from "../../../src/internal/protocol/message.ts"

const utf8 = (text: string) => new TextEncoder().encode(text)

describe("Text", () => {
  it("makes the bytes of a string once, and the string of bytes once", () => {
    const ofString = new Text("añ€😀")
    assert.deepStrictEqual(ofString.bytes, utf8("añ€😀"))
    assert.strictEqual(ofString.bytes, ofString.bytes)
    const bytes = utf8("añ€😀")
    const ofBytes = new Text(bytes)
    assert.strictEqual(ofBytes.text, "añ€😀")
    assert.strictEqual(ofBytes.bytes, bytes)
  })

  it("data is the form that needs no conversion, the bytes where both are known", () => {
    const bytes = utf8("a")
    assert.strictEqual(new Text(bytes).data, bytes)
    const text = new Text("a")
    assert.strictEqual(text.data, "a")
    assert.strictEqual(text.bytes, text.data)
  })

  it("becomes JSON with its text", () => {
    assert.strictEqual(JSON.stringify(new Text(utf8("é"))), `{"_tag":"Text","text":"é"}`)
  })
})

describe("Binary", () => {
  it("keeps its bytes, and becomes JSON with their values", () => {
    const bytes = Uint8Array.of(0, 255)
    const binary = new Binary(bytes)
    assert.strictEqual(binary.bytes, bytes)
    assert.strictEqual(JSON.stringify(binary), `{"_tag":"Binary","bytes":[0,255]}`)
  })
})

describe("decodeText", () => {
  it("keeps a byte order mark, and replaces invalid bytes", () => {
    assert.strictEqual(decodeText(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61, 0xff)), "\uFEFFa\uFFFD")
  })
})
