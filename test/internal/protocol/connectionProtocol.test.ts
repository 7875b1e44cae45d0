import { assert, describe, it } from "@effect/vitest"
import { Duration } from "effect"
import { CloseCode, ConnectionError, Frame } from "effect-ws"
import { Extensions } from "../../../src/internal/connection/extensionPipeline.ts"
import { Protocol, type ProtocolOptions, type Received } from "../../../src/internal/protocol/connectionProtocol.ts"

const key = 0x0a0b0c0d

/** A server's protocol, and what a client's frames come to in it. */
const make = (options: ProtocolOptions = {}) => {
  const protocol = new Protocol("server", Frame.makeCodec(), options)
  const receive = (...frames: ReadonlyArray<Frame.Frame>) =>
    protocol.receive(Buffer.concat(frames.map((frame) => Frame.encode(frame, key))))
  return { protocol, receive }
}

const summary = ({ pongPayloads = [], close, deliver, pongs = [] }: Received) => ({
  deliver: deliver.map((frame) => frame.opcode),
  pongs: pongs.map((frame) => Buffer.from(frame.payload).toString()),
  answered: pongPayloads.map((payload) => Buffer.from(payload).toString()),
  close
})

const bytes = (text: string) => new TextEncoder().encode(text)

describe("what is received", () => {
  it("arrives in pieces of large frames, unless an extension decodes whole frames only", () => {
    const rules = (acceptPieces: boolean) => ({ reservedBits: 4, acceptPieces, isEncoded: () => false })
    const frame = Frame.encode(Frame.binary(new Uint8Array(70_000)), key)
    for (const [extensions, count] of [[undefined, 1], [rules(true), 1], [rules(false), 0]] as const) {
      const protocol = new Protocol("server", Frame.makeCodec(), {}, extensions)
      assert.lengthOf(protocol.receive(frame.subarray(0, 69_000)).deliver, count)
      assert.lengthOf(protocol.receive(frame.subarray(69_000)).deliver, 1)
    }
  })

  it("data is delivered, a ping is owed a pong, a pong answers (RFC 6455 §5.5, §5.6)", () => {
    const { protocol, receive } = make()
    const received = receive(
      Frame.text("a", { fin: false }),
      Frame.ping(bytes("p1")),
      Frame.continuation("b"),
      Frame.pong(bytes("p0")),
      Frame.binary(bytes("c")),
      Frame.ping(bytes("p2"))
    )
    assert.deepStrictEqual(summary(received), {
      deliver: [1, 0, 2],
      pongs: ["p1", "p2"],
      answered: ["p0"],
      close: undefined
    })
    assert.deepStrictEqual([protocol.framesIn, protocol.messagesIn], [6, 2])
    assert.strictEqual(protocol.state, "Open")
  })

  it("pings and the close frame are delivered where they are the program's to answer", () => {
    const { protocol, receive } = make({ autoPong: false, autoClose: false })
    const received = receive(Frame.ping(), Frame.close(1000))
    assert.deepStrictEqual(summary(received), { deliver: [9, 8], pongs: [], answered: [], close: undefined })
    assert.strictEqual(protocol.state, "Closing")
    assert.isTrue(protocol.canSend)
  })

  it("repliesLater holds from the peer's close frame to that of this end, if the program replies", () => {
    const { protocol, receive } = make({ autoClose: false })
    assert.isFalse(protocol.repliesLater)
    receive(Frame.close(1000))
    assert.isTrue(protocol.repliesLater)
    protocol.close({ code: 1000, reason: "" })
    assert.isFalse(protocol.repliesLater)
    const automatic = make()
    automatic.receive(Frame.close(1000))
    assert.isFalse(automatic.protocol.repliesLater)
  })

  it("ignores bytes behind a close frame, whether they are frames or not (§1.4)", () => {
    for (const rest of [[0x83, 0x80], [0xff], [0x81, 0x05]]) {
      const { protocol } = make()
      const received = protocol.receive(Buffer.concat([Frame.encode(Frame.close(1000), key), Buffer.from(rest)]))
      assert.deepInclude(summary(received), { deliver: [] })
      assert.deepInclude(received.close, { code: 1000 })
      assert.isUndefined(protocol.closed.cause)
    }
  })

  it("nothing, after a close frame (§1.4) and after a failure (§7.1.7)", () => {
    const closed = make()
    assert.deepStrictEqual(summary(closed.receive(Frame.close(1000), Frame.text("late"))).deliver, [])
    assert.deepStrictEqual(summary(closed.receive(Frame.text("later"))).deliver, [])
    const failed = make()
    const received = failed.receive(Frame.text("before"), Frame.continuation("x"), Frame.text("after"))
    assert.deepStrictEqual(summary(received), {
      deliver: [1],
      pongs: [],
      answered: [],
      close: { code: 1002, reason: "UnexpectedContinuation" }
    })
    failed.protocol.close(received.close!)
    assert.deepStrictEqual(summary(failed.receive(Frame.text("later"))).deliver, [])
  })

  it("a control frame that is not all here is no message to check", () => {
    const { protocol } = make()
    const ping = Frame.encode(Frame.ping(bytes("slow")), key)
    assert.deepStrictEqual(summary(protocol.receive(ping.slice(0, 7))).pongs, [])
    assert.deepStrictEqual(summary(protocol.receive(ping.slice(7))).pongs, ["slow"])
  })
})

describe("states and ends (§7)", () => {
  it("the peer closes first: the code is echoed, and both frames are kept", () => {
    const { protocol, receive } = make()
    const { close } = receive(Frame.close(4000, "why"))
    assert.deepStrictEqual(close, { code: 4000, reason: "" })
    assert.strictEqual(protocol.state, "Closing")
    protocol.close(close!)
    assert.strictEqual(protocol.state, "Closed")
    assert.deepInclude({ ...protocol.closed }, {
      sent: { code: 4000, reason: "" },
      received: { code: 4000, reason: "why" },
      closedBy: "remote",
      cause: undefined
    })
    assert.isTrue(protocol.closed.clean)
    assert.isFalse(protocol.closed.normal)
  })

  it("an empty close frame is owed an empty one", () => {
    const { receive } = make()
    assert.deepStrictEqual(receive(Frame.close()).close, { code: CloseCode.NoStatusReceived, reason: "" })
  })

  it("this end closes first: nothing may be sent any more, and the peer's frame ends it", () => {
    const { protocol, receive } = make()
    protocol.close({ code: 1000, reason: "mine" })
    assert.strictEqual(protocol.state, "Closing")
    assert.isFalse(protocol.canSend)
    assert.deepStrictEqual(summary(receive(Frame.text("on its way"))).deliver, [1])
    assert.isUndefined(receive(Frame.close(1000, "theirs")).close)
    assert.strictEqual(protocol.state, "Closed")
    assert.strictEqual(protocol.closed.closedBy, "local")
    assert.strictEqual(protocol.closed.reason, "mine")
    assert.isTrue(protocol.closed.normal)
  })

  it("a second close changes nothing", () => {
    const { protocol } = make()
    protocol.close({ code: 1000, reason: "" })
    protocol.close({ code: 4000, reason: "" })
    assert.strictEqual(protocol.closed.code, 1000)
  })

  it("a broken rule closes with its code; after this end's close frame it only cuts", () => {
    const { protocol, receive } = make()
    const { close } = receive(Frame.text(Uint8Array.of(0xff)))
    assert.deepStrictEqual(close, { code: 1007, reason: "InvalidUtf8" })
    protocol.close(close!)
    assert.strictEqual(protocol.state, "Closed")
    assert.strictEqual(protocol.closed.cause?._tag, "InvalidUtf8")

    const closing = make()
    closing.protocol.close({ code: 1000, reason: "" })
    assert.isUndefined(closing.receive(Frame.continuation("x")).close)
    assert.strictEqual(closing.protocol.state, "Closed")
    assert.deepStrictEqual(closing.protocol.closed.sent, { code: 1000, reason: "" })
    assert.isFalse(closing.protocol.closed.clean)
  })

  it("a cut is an end without a closing handshake, and does not change one that there was", () => {
    const { protocol, receive } = make()
    assert.strictEqual(protocol.closed.code, 1006)
    protocol.cut(new ConnectionError.UnexpectedEof())
    assert.strictEqual(protocol.state, "Closed")
    assert.isFalse(protocol.canSend)
    const ended = protocol.closed
    assert.strictEqual(ended.cause?._tag, "UnexpectedEof")
    protocol.cut(new ConnectionError.CloseTimeout({ duration: Duration.seconds(1) }))
    assert.strictEqual(protocol.closed, ended)
    assert.deepStrictEqual(receive(Frame.text("x")).deliver, [])

    const clean = make()
    clean.protocol.close(clean.receive(Frame.close(1001)).close!)
    clean.protocol.cut(new ConnectionError.UnexpectedEof())
    assert.isTrue(clean.protocol.closed.normal)
  })

  it("closing with a cause of this end's own ends at once", () => {
    const { protocol } = make()
    protocol.close({ code: 1011, reason: "MessageAborted" }, new ConnectionError.MessageAborted())
    assert.strictEqual(protocol.state, "Closed")
    assert.strictEqual(protocol.closed.cause?._tag, "MessageAborted")
  })
})

describe("reserved bits that an extension uses", () => {
  const session = { encode: (frame: Frame.Frame) => frame, decode: (frame: Frame.Frame) => frame }
  const receive = (...frames: ReadonlyArray<Frame.Frame>) => {
    const extensions = new Extensions([{ reservedBits: 7, session }], 1000)
    const protocol = new Protocol("server", Frame.makeCodec(), {}, extensions)
    return protocol.receive(Buffer.concat(frames.map((frame) => Frame.encode(frame, key))))
  }
  const frame = (opcode: Frame.Opcode, reserved: number, fin = true) =>
    new Frame.Frame(opcode, new Uint8Array(), fin, reserved)
  const { Binary, Continuation, Ping, Text } = Frame.Opcode
  const { Rsv1, Rsv2 } = Frame.Reserved

  it("stand on data, the bit of a message's compression on its first frame alone (RFC 7692 §6)", () => {
    assert.isUndefined(receive(frame(Text, 7), frame(Binary, Rsv1, false), frame(Continuation, Rsv2)).close)
    for (
      const wrong of [[frame(Ping, Rsv2)], [frame(Ping, Rsv1)], [frame(Binary, Rsv1, false), frame(Continuation, Rsv1)]]
    ) {
      assert.deepStrictEqual(receive(...wrong).close, { code: 1002, reason: "ReservedBits" })
    }
  })
})
