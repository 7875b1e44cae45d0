import { assert, describe, it } from "@effect/vitest"
import { Frame, Message } from "effect-ws"
import { constants } from "node:buffer"
import { bytes, toHex } from "../../support/frames.ts"
import { messageOf, open, utf8 } from "../../support/messages.ts"

describe("Assembler", () => {
  it("returns a message of one frame with the payload itself", () => {
    const assembler = new Message.Assembler()
    const payload = utf8("abc")
    const text = assembler.push(Frame.text(payload))
    assert.strictEqual(text instanceof Message.Text && text.bytes, payload)
    const binary = assembler.push(Frame.binary(payload))
    assert.strictEqual(binary instanceof Message.Binary && binary.bytes, payload)
    assert.isFalse(assembler.unfinished)
  })

  it("joins fragments under the opcode of the first", () => {
    const assembler = new Message.Assembler()
    for (
      const [frames, expected] of [
        [[Frame.text("a", open), Frame.continuation("b", open), Frame.continuation("c")], ["Text", "abc", "616263"]],
        [[Frame.binary(bytes(1), open), Frame.continuation(bytes(2))], ["Binary", "0102"]],
        [[Frame.text("", open), Frame.continuation("")], ["Text", "", ""]]
      ] as const
    ) {
      assert.isFalse(assembler.unfinished)
      for (const frame of frames.slice(0, -1)) {
        assert.isUndefined(assembler.push(frame))
        assert.isTrue(assembler.unfinished)
      }
      assert.deepStrictEqual<unknown>(messageOf(assembler.push(frames[frames.length - 1])), expected)
    }
    assert.isFalse(assembler.unfinished)
  })

  it("gives back the reserved bits of the first frame", () => {
    const assembler = new Message.Assembler()
    assembler.push(new Frame.Frame(Frame.Opcode.Text, utf8("a"), false, 4))
    assembler.push(new Frame.Frame(Frame.Opcode.Continuation, utf8("b"), false, 0))
    assert.strictEqual(assembler.giveBack()?.reserved, 4)
    assembler.push(new Frame.Frame(Frame.Opcode.Text, utf8("a"), false, 0))
    assert.strictEqual(assembler.giveBack()?.reserved, 0)
  })

  it("ignores the rest of a message that did not begin here", () => {
    const assembler = new Message.Assembler()
    assert.isUndefined(assembler.push(Frame.continuation("b", open)))
    assert.isFalse(assembler.unfinished)
    assert.isUndefined(assembler.push(Frame.continuation("c")))
    assert.isFalse(assembler.unfinished)
    assert.deepStrictEqual(messageOf(assembler.push(Frame.text("d"))), ["Text", "d", "64"])
  })

  it("gives the beginning of a message back as one frame, and ignores its rest", () => {
    const assembler = new Message.Assembler()
    assert.isUndefined(assembler.giveBack())
    assembler.push(Frame.text("ab", open))
    assembler.push(Frame.continuation("c", open))
    const beginning = assembler.giveBack()
    assert.strictEqual(beginning?.opcode, Frame.Opcode.Text)
    assert.strictEqual(beginning?.fin, false)
    assert.strictEqual(toHex(beginning?.payload ?? bytes()), "616263")
    assert.isFalse(assembler.unfinished)
    assert.isUndefined(assembler.giveBack())
    assert.isUndefined(assembler.push(Frame.continuation("d")))
    assert.deepStrictEqual(messageOf(assembler.push(Frame.binary(bytes(1)))), ["Binary", "01"])
    assert.isUndefined(assembler.giveBack())
  })

  it("fails with MessageTooLarge above the maximum of one string or one array, as soon as possible", () => {
    // These bytes are not touched, and so take no memory.
    const half = new Uint8Array(2 ** 28)
    const whole = new Uint8Array(constants.MAX_STRING_LENGTH + 1)
    const expected = { _tag: "MessageTooLarge", limit: constants.MAX_STRING_LENGTH }
    assert.deepInclude({ ...new Message.Assembler().push(Frame.text(whole)) }, expected)
    const assembler = new Message.Assembler()
    assert.isUndefined(assembler.push(Frame.text(half, open)))
    assert.deepInclude({ ...assembler.push(Frame.continuation(half, open)) }, expected)
    assert.strictEqual((new Message.Assembler().push(Frame.binary(whole)) as Message.Message)._tag, "Binary")
    const collector = Message.makeCollector({ maxMessageSize: Infinity })
    assert.isUndefined(collector.push(Frame.binary(half, open)))
    for (let size = 2 ** 28; size < 2 ** 32; size += 2 ** 28) {
      assert.isUndefined(collector.push(Frame.continuation(half, open)))
    }
    for (const frame of [Frame.continuation("x"), Frame.text("x"), Frame.ping()]) {
      assert.deepInclude({ ...collector.push(frame) }, {
        _tag: "MessageTooLarge",
        size: 2 ** 32 + 1,
        limit: 2 ** 32
      })
    }
  })

  it("joins the pieces of a frame, and fails with MessageTooLarge above the maximum of one array", () => {
    const assembler = new Message.Assembler()
    // These bytes are not touched, and so take no memory.
    const payload = new Uint8Array(2 ** 28)
    const piece = (part: Uint8Array, offset: number, remaining: number) =>
      new Frame.Piece(offset === 0 ? Frame.Opcode.Binary : Frame.Opcode.Continuation, part, true, 0, {
        offset,
        remaining
      })
    assert.isUndefined(assembler.pushPiece(piece(utf8("a"), 0, 1)))
    assert.deepStrictEqual(assembler.pushPiece(piece(utf8("b"), 1, 0)), Frame.binary(utf8("ab")))
    for (let offset = 0; offset < 2 ** 32; offset += payload.length) {
      assert.isUndefined(assembler.pushPiece(piece(payload, offset, 2 ** 32 + 1 - offset - payload.length)))
    }
    assert.deepInclude({ ...assembler.pushPiece(piece(utf8("c"), 2 ** 32, 0)) }, {
      _tag: "MessageTooLarge",
      size: 2 ** 32 + 1,
      limit: 2 ** 32
    })
  })

  it("continues a beginning that another assembler gave back", () => {
    for (
      const [first, expected] of [
        [Frame.text("ab", open), ["Text", "abcd", "61626364"]],
        [Frame.binary(utf8("ab"), open), ["Binary", "61626364"]]
      ] as const
    ) {
      const [left, right] = [new Message.Assembler(), new Message.Assembler()]
      left.push(first)
      left.push(Frame.continuation("c", open))
      assert.isUndefined(right.push(left.giveBack()!))
      assert.isTrue(right.unfinished)
      assert.deepStrictEqual<unknown>(messageOf(right.push(Frame.continuation("d"))), expected)
    }
  })
})
