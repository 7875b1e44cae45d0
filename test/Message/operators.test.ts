import { assert, describe, it } from "@effect/vitest"
import { Message } from "effect-ws"

const text = Message.text("hé")
const binary = Message.binary(Uint8Array.of(1, 2))

describe("Message.match", () => {
  const handlers = { onText: (string: string) => string.length, onBinary: (bytes: Uint8Array) => Array.from(bytes) }

  it("calls onText with the text of a text message", () => {
    assert.strictEqual(Message.match(text, handlers), 2)
    assert.strictEqual(Message.match(handlers)(text), 2)
  })

  it("calls onBinary with the bytes of a binary message", () => {
    assert.deepStrictEqual(Message.match(binary, handlers), [1, 2])
    assert.deepStrictEqual(Message.match(handlers)(binary), [1, 2])
  })
})

describe("guards", () => {
  it("Message.isText holds for text messages only", () => {
    assert.deepStrictEqual([text, binary].map(Message.isText), [true, false])
  })

  it("Message.isBinary holds for binary messages only", () => {
    assert.deepStrictEqual([text, binary].map(Message.isBinary), [false, true])
  })
})

describe("Message.toText", () => {
  it("returns the text of a text message", () => {
    assert.strictEqual(Message.toText(text), "hé")
  })

  it("decodes the bytes of a binary message, with its byte order mark", () => {
    assert.strictEqual(Message.toText(Message.binary(Uint8Array.of(0xef, 0xbb, 0xbf, 0xc3, 0xa9))), "\ufeffé")
  })

  it("replaces bytes of a binary message that are not UTF-8 with U+FFFD", () => {
    assert.strictEqual(Message.toText(Message.binary(Uint8Array.of(0x61, 0xff, 0x62))), "a\ufffdb")
  })
})
