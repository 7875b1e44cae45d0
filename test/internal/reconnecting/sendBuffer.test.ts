import { assert, describe, it } from "@effect/vitest"
import { Message } from "effect-ws"
import { SendBuffer } from "../../../src/internal/reconnecting/sendBuffer.ts"

describe("SendBuffer", () => {
  it("keeps what it is given in order, with its options, up to the limit on messages", () => {
    const buffer = new SendBuffer(3, 100)
    assert.isTrue(buffer.add(["a"], undefined))
    assert.isFalse(buffer.add(["b", "c", "d"], undefined))
    assert.isTrue(buffer.add(["b", "c"], { compress: false }))
    assert.isFalse(buffer.add(["d"], undefined))
    assert.deepStrictEqual(buffer.first?.messages, ["a"])
    buffer.removeFirst()
    assert.deepStrictEqual(buffer.first, { messages: ["b", "c"], options: { compress: false }, size: 2 })
    assert.isTrue(buffer.add(["d"], undefined))
  })

  it("counts the bytes of UTF-8 and of binary messages", () => {
    const buffer = new SendBuffer(10, 8)
    assert.isFalse(buffer.add(["€€€"], undefined))
    assert.isTrue(buffer.add(["€€"], undefined))
    assert.isFalse(buffer.add([new Uint8Array(3)], undefined))
    assert.isTrue(buffer.add([new Uint8Array(2)], undefined))
    buffer.removeFirst()
    assert.isTrue(buffer.add([new Uint8Array(6)], undefined))
    assert.isFalse(buffer.add(["x"], undefined))
  })

  it("keeps copies of bytes, and texts as texts", () => {
    const buffer = new SendBuffer(10, 100)
    const bytes = new TextEncoder().encode("a")
    buffer.add(["s", new Message.Text(bytes), new Message.Binary(bytes), bytes], undefined)
    bytes[0] = 0
    const kept = buffer.first?.messages.map((message) =>
      message instanceof Message.Text
        ? `Text ${message.text}`
        : message instanceof Uint8Array
        ? Array.from(message)
        : message
    )
    assert.deepStrictEqual<unknown>(kept, ["s", "Text a", [97], [97]])
  })

  it("accepts as much as at first after clear", () => {
    const buffer = new SendBuffer(1, 1)
    buffer.add(["x"], undefined)
    buffer.clear()
    assert.isUndefined(buffer.first)
    assert.isFalse(buffer.add(["yy"], undefined))
    assert.isTrue(buffer.add(["y"], undefined))
    assert.isFalse(buffer.add([""], undefined))
    // A connection may end after the client has discarded what it was sending.
    buffer.clear()
    buffer.removeFirst()
    assert.isTrue(buffer.add(["z"], undefined))
  })

  it("copies bytes", () => {
    const buffer = new SendBuffer(1, 10)
    const bytes = Uint8Array.of(1, 2)
    buffer.add([bytes], undefined)
    bytes.fill(0)
    assert.deepStrictEqual(buffer.first?.messages, [Uint8Array.of(1, 2)])
  })
})
