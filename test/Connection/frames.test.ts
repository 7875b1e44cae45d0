import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Stream } from "effect"
import { Frame } from "effect-ws"
import { TestClock } from "effect/testing"
import { contentOf, makeRaw, opcodesOf, settle } from "../support/memory.ts"

const bytes = (...values: Array<number>) => Uint8Array.from(values)
const textOf = (frame: Frame.Frame) => Buffer.from(frame.payload).toString("utf8")
const closeOf = (frame: Frame.Frame) => Frame.readClose(frame.payload)

describe("frames of a connection", () => {
  it.effect("returns data frames as they were sent, without control frames", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(
        Frame.text("a", { fin: false }),
        Frame.ping(),
        Frame.continuation("b"),
        Frame.binary(bytes(1)),
        Frame.close(1000)
      )
      const frames = yield* Stream.runCollect(connection.frames)
      assert.deepStrictEqual(frames.map((frame) => [frame.opcode, frame.fin]), [[1, false], [0, true], [2, true]])
    }))

  it.effect("returns pings with autoPong: false", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", autoPong: false })
      peer.send(Frame.ping(bytes(5)), Frame.text("x"), Frame.close(1000))
      const frames = yield* Stream.runCollect(connection.frames)
      assert.deepStrictEqual(opcodesOf(frames), [Frame.Opcode.Ping, Frame.Opcode.Text])
      yield* settle
      assert.deepStrictEqual(opcodesOf(peer.received), [Frame.Opcode.Close])
    }))

  it.effect("returns the close frame with autoClose: false", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", autoClose: false })
      peer.send(Frame.text("x"), Frame.close(4000, "over"))
      const frames = yield* connection.frames.pipe(Stream.take(2), Stream.runCollect)
      assert.deepStrictEqual(closeOf(frames[1]), { code: 4000, reason: "over" })
      yield* settle
      assert.deepStrictEqual(peer.received, [])
      yield* connection.send("one more")
      peer.transport.end()
      const ended = yield* connection.close(4001, "indeed")
      assert.strictEqual(ended.closedBy, "remote")
      assert.deepStrictEqual(ended.received, { code: 4000, reason: "over" })
      assert.deepStrictEqual(ended.sent, { code: 4001, reason: "indeed" })
      assert.isTrue(ended.clean)
    }))

  it.effect("end behind a close frame that the program replies to", () =>
    Effect.gen(function*() {
      for (const code of [1000, 1005, 4001]) {
        const { connection, peer } = yield* makeRaw({ role: "server", autoClose: false })
        peer.send(Frame.text("x"), Frame.close(code))
        const opcodes: Array<number> = []
        yield* Stream.runForEach(connection.frames, ({ opcode }) => Effect.sync(() => void opcodes.push(opcode)))
        assert.deepStrictEqual(opcodes, [Frame.Opcode.Text, Frame.Opcode.Close])
        assert.deepStrictEqual(yield* Stream.runCollect(connection.frames), [])
        peer.transport.end()
        const ended = yield* connection.close(1000)
        assert.deepStrictEqual([ended.closedBy, ended.code, ended.sent?.code], ["remote", code, 1000])
        assert.deepStrictEqual(yield* Effect.flip(connection.receive), ended)
      }
    }))

  it.effect("end the messages, too, behind a close frame that the program replies to", () =>
    Effect.gen(function*() {
      const collect = (code: number) =>
        Effect.gen(function*() {
          const { connection, peer } = yield* makeRaw({ role: "server", autoClose: false })
          const collected = yield* Effect.forkChild(Effect.exit(Stream.runCollect(connection.messages)))
          yield* settle
          peer.send(Frame.text("x"), Frame.close(code))
          return Exit.map(yield* Fiber.join(collected), (messages) => messages.map(contentOf))
        })
      assert.deepStrictEqual(yield* collect(1000), Exit.succeed(["x"]))
      const failed = yield* Effect.flip(yield* collect(4001))
      assert.deepStrictEqual([failed.code, failed.sent, failed.cause], [4001, undefined, undefined])
    }))

  it.effect("end the connection after closeTimeout if the program does not reply to the close frame", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", autoClose: false, closeTimeout: "3 seconds" })
      peer.send(Frame.close(1000))
      yield* settle
      yield* TestClock.adjust("2999 millis")
      yield* settle
      assert.isFalse(peer.isClosed)
      yield* TestClock.adjust("1 millis")
      assert.strictEqual((yield* connection.closed).cause?._tag, "CloseTimeout")
    }))

  it.effect("share a queue with messages, so that each frame is read once", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.text("a", { fin: false }), Frame.continuation("b"), Frame.text("c"), Frame.text("d"))
      const first = yield* connection.frames.pipe(Stream.take(1), Stream.runCollect)
      assert.strictEqual(textOf(first[0]), "a")
    }))

  it.effect("return the beginning of a message whose receive was interrupted", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.text("a", { fin: false }), Frame.continuation("b", { fin: false }))
      const fiber = yield* Effect.forkChild(connection.receive)
      yield* settle
      yield* Fiber.interrupt(fiber)
      const collected = yield* Effect.forkChild(Stream.runCollect(connection.frames))
      yield* settle
      peer.send(Frame.continuation("c"), Frame.close())
      const frames = yield* Fiber.join(collected)
      assert.deepStrictEqual(frames.map((frame) => [frame.opcode, textOf(frame), frame.fin]), [
        [1, "ab", false],
        [0, "c", true]
      ])
    }))

  it.effect("sends a message frame by frame with sendFrame", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      yield* connection.sendFrame(Frame.text("a", { fin: false }))
      const other = yield* Effect.forkChild(connection.send("other"))
      yield* connection.sendFrame(Frame.ping(bytes(1)))
      yield* connection.sendFrame(Frame.continuation("b"))
      yield* Fiber.join(other)
      yield* settle
      assert.deepStrictEqual(opcodesOf(peer.received), [1, Frame.Opcode.Ping, 0, 1])
    }))

  it.effect("fails sendFrame with UnexpectedFragment for frames out of order", () =>
    Effect.gen(function*() {
      const { connection } = yield* makeRaw({ role: "server" })
      const tag = <E extends { readonly _tag: string }>(effect: Effect.Effect<unknown, E>) =>
        Effect.map(Effect.flip(effect), (error) => error._tag)
      assert.strictEqual(yield* tag(connection.sendFrame(Frame.continuation("x"))), "UnexpectedFragment")
      yield* connection.sendFrame(Frame.text("a", { fin: false }))
      assert.strictEqual(yield* tag(connection.sendFrame(Frame.text("b"))), "UnexpectedFragment")
      assert.strictEqual(
        yield* tag(connection.sendFrame(Frame.ping(new Uint8Array(126)))),
        "ControlPayloadTooLong"
      )
    }))

  it.effect("fails sendFrame for a frame that breaks a rule of RFC 6455, sends nothing of it, and stays usable", () =>
    Effect.gen(function*() {
      const { Close, Ping, Pong } = Frame.Opcode
      const utf8 = new TextEncoder()
      const codes = [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535]
      const broken: ReadonlyArray<readonly [Frame.Frame, string, unknown]> = [
        ...codes.map((code) => [new Frame.Frame(Close, bytes(code >> 8, code)), "InvalidCloseCode", code] as const),
        [new Frame.Frame(Close, bytes(3)), "InvalidFrame", "CloseFrameTooShort"],
        [new Frame.Frame(Close, bytes(3, 232, 0xff)), "InvalidFrame", "InvalidUtf8"],
        [new Frame.Frame(Close, bytes(3, 232, 0xe2, 0x82)), "InvalidFrame", "InvalidUtf8"],
        ...[Close, Ping, Pong].flatMap((opcode) => [
          [new Frame.Frame(opcode, new Uint8Array(126)), "ControlPayloadTooLong", opcode] as const,
          [new Frame.Frame(opcode, bytes(), false), "InvalidFrame", "FragmentedControlFrame"] as const,
          [new Frame.Frame(opcode, bytes(), true, 4), "InvalidFrame", "ReservedBits"] as const
        ]),
        ...[1, 2, 4].map((reserved) =>
          [
            new Frame.Frame(Frame.Opcode.Text, utf8.encode("x"), true, reserved),
            "InvalidFrame",
            "ReservedBits"
          ] as const
        )
      ]
      for (const role of ["server", "client"] as const) {
        const { connection, peer } = yield* makeRaw({ role })
        for (const [frame, tag, fact] of broken) {
          const error = yield* Effect.flip(connection.sendFrame(frame))
          assert.strictEqual(error._tag, tag)
          if (error._tag === "InvalidCloseCode") assert.strictEqual(error.code, fact)
          if (error._tag === "InvalidFrame") assert.strictEqual(error.rule, fact)
          if (error._tag === "ControlPayloadTooLong") assert.strictEqual(error.opcode, fact)
        }
        yield* connection.send("fine")
        yield* settle
        assert.deepStrictEqual(peer.received.map(textOf), ["fine"])
      }
    }))

  it.effect("sends nothing behind a close frame of sendFrame, with a code or without", () =>
    Effect.gen(function*() {
      for (const frame of [Frame.close(), Frame.close(1000), Frame.close(4999, "x".repeat(123))]) {
        const { connection, peer } = yield* makeRaw({ role: "server" })
        yield* connection.sendFrame(Frame.text("begun", { fin: false }))
        yield* connection.sendFrame(frame)
        for (
          const late of [
            connection.send("x"),
            connection.sendFrame(Frame.continuation("x")),
            connection.sendFrame(Frame.ping()),
            connection.sendFrame(Frame.close(1001))
          ]
        ) assert.strictEqual((yield* Effect.flip(late))._tag, "ConnectionClosed")
        yield* settle
        assert.deepStrictEqual(peer.received.slice(1).map(({ payload }) => payload), [frame.payload])
        peer.send(Frame.close(1000))
        const ended = yield* connection.closed
        assert.deepStrictEqual([ended.sent, ended.closedBy], [closeOf(frame), "local"])
      }
    }))

  it.effect("begins the closing handshake with a close frame of sendFrame", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      yield* connection.sendFrame(Frame.close(4002, "frame"))
      yield* settle
      peer.send(Frame.close(4002))
      peer.transport.end()
      const ended = yield* connection.closed
      assert.deepStrictEqual(ended.sent, { code: 4002, reason: "frame" })
      assert.isTrue(ended.clean)
    }))
})
