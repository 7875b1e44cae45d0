import { assert, describe, it } from "@effect/vitest"
import { Message } from "effect-ws"
import { bytes, hex, toHex } from "../support/frames.ts"
import { utf8 } from "../support/messages.ts"

describe("a text message", () => {
  it("made of a string encodes it when bytes are read", () => {
    const message = Message.text("hé€😀")
    assert.strictEqual(message._tag, "Text")
    assert.strictEqual(message.text, "hé€😀")
    assert.strictEqual(message.data, "hé€😀")
    assert.strictEqual(toHex(message.bytes), "68c3a9e282acf09f9880")
    assert.strictEqual(message.bytes, message.bytes)
    assert.strictEqual(message.data, message.bytes)
    assert.strictEqual(message.text, "hé€😀")
  })

  it("made of bytes decodes them when the text is read", () => {
    const given = utf8("hé")
    const message = Message.text(given)
    assert.strictEqual(message._tag, "Text")
    assert.strictEqual(message.data, given)
    assert.strictEqual(message.bytes, given)
    given[0] = 0x48
    assert.strictEqual(message.text, "Hé")
    given[0] = 0x68
    assert.strictEqual(message.text, "Hé")
    assert.strictEqual(message.data, given)
  })

  it("may be empty", () => {
    assert.strictEqual(Message.text("").text, "")
    assert.strictEqual(Message.text("").data, "")
    assert.strictEqual(Message.text("").bytes.length, 0)
    assert.strictEqual(Message.text(bytes()).text, "")
  })

  it("keeps a byte order mark", () => {
    assert.strictEqual(Message.text(hex("efbbbf 61")).text, "\ufeffa")
    assert.strictEqual(toHex(Message.text("\ufeffa").bytes), "efbbbf61")
  })

  it("contains its text in JSON", () => {
    assert.strictEqual(JSON.stringify(Message.text(utf8("é"))), "{\"_tag\":\"Text\",\"text\":\"é\"}")
  })
})

describe("a binary message", () => {
  it("keeps the bytes that it is given", () => {
    const given = bytes(1, 2, 255)
    const message = Message.binary(given)
    assert.strictEqual(message._tag, "Binary")
    assert.strictEqual(message.bytes, given)
  })

  it("contains its bytes in JSON", () => {
    assert.strictEqual(JSON.stringify(Message.binary(bytes(1, 2, 255))), "{\"_tag\":\"Binary\",\"bytes\":[1,2,255]}")
  })
})
