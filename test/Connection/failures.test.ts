import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { Frame } from "effect-ws"
import { TestClock } from "effect/testing"
import { contentOf, makeRaw, settle } from "../support/memory.ts"

const bytes = (...values: Array<number>) => Uint8Array.from(values)
const closeOf = (frame: Frame.Frame) => Frame.readClose(frame.payload)

describe("failing the connection (RFC 6455 §7.1.7)", () => {
  const cases: ReadonlyArray<readonly [string, ReadonlyArray<Frame.Frame>, string, number]> = [
    ["a reserved bit", [new Frame.Frame(1, bytes(), true, 4)], "ReservedBits", 1002],
    ["a reserved opcode", [new Frame.Frame(3 as Frame.Opcode, bytes())], "ReservedOpcode", 1002],
    ["a fragmented ping", [new Frame.Frame(9, bytes(), false)], "FragmentedControlFrame", 1002],
    ["a ping of 126 bytes", [Frame.ping(new Uint8Array(126))], "ControlFrameTooLong", 1002],
    ["a continuation of nothing", [Frame.continuation("x")], "UnexpectedContinuation", 1002],
    [
      "a message inside another",
      [Frame.text("a", { fin: false }), Frame.text("b")],
      "UnfinishedMessage",
      1002
    ],
    ["text that is not UTF-8", [Frame.text(bytes(0x61, 0xff))], "InvalidUtf8", 1007],
    [
      "text that ends inside a code point",
      [Frame.text(bytes(0xe2), { fin: false }), Frame.continuation(bytes(0x82))],
      "InvalidUtf8",
      1007
    ],
    ["a message over the limit", [Frame.binary(new Uint8Array(1001))], "MessageTooLarge", 1009],
    [
      "a fragmented message over the limit",
      [Frame.binary(new Uint8Array(600), { fin: false }), Frame.continuation(new Uint8Array(600))],
      "MessageTooLarge",
      1009
    ],
    [
      "fragments without end",
      [Frame.text("", { fin: false }), ...Array.from({ length: 10 }, () => Frame.continuation("", { fin: false }))],
      "TooManyFragments",
      1008
    ],
    ["a close frame of one byte", [new Frame.Frame(8, bytes(3))], "CloseFrameTooShort", 1002],
    ["an invalid close code", [new Frame.Frame(8, bytes(0x03, 0xee))], "InvalidCloseCode", 1002],
    ["a close reason that is not UTF-8", [new Frame.Frame(8, bytes(0x03, 0xe8, 0xff))], "InvalidUtf8", 1007]
  ]
  for (const [name, frames, tag, code] of cases) {
    it.effect(`${name}: ${tag}, ${code}`, () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* makeRaw({ role: "server", maxMessageSize: 1000, maxFragments: 5 })
        peer.send(Frame.text("before"), ...frames)
        assert.strictEqual(contentOf(yield* connection.receive), "before")
        const ended = yield* Effect.flip(connection.receive)
        assert.strictEqual(ended.cause?._tag, tag)
        assert.strictEqual(ended.code, code)
        assert.strictEqual(ended.closedBy, "local")
        yield* settle
        assert.deepStrictEqual(closeOf(peer.received.at(-1)!), { code, reason: tag })
        assert.isTrue(peer.receivedEof)
      }))
  }

  it.effect("closes with 1002 for an unmasked frame to a server, and a masked one to a client", () =>
    Effect.gen(function*() {
      const server = yield* makeRaw({ role: "server" })
      server.peer.sendBytes(Frame.encode(Frame.text("x")))
      assert.strictEqual((yield* Effect.flip(server.connection.receive)).cause?._tag, "UnmaskedFrame")
      const client = yield* makeRaw({ role: "client" })
      client.peer.sendBytes(Frame.encode(Frame.text("x"), 1))
      assert.strictEqual((yield* Effect.flip(client.connection.receive)).cause?._tag, "MaskedFrame")
    }))

  it.effect("rejects text at its first invalid byte, within an incomplete frame", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const frame = Frame.encode(Frame.text(bytes(0x61, 0x62, 0xc0, 0x61, 0x61, 0x61)), 0)
      peer.sendBytes(frame.subarray(0, frame.length - 3))
      const ended = yield* Effect.flip(connection.receive)
      assert.strictEqual(ended.cause?._tag, "InvalidUtf8")
      assert.strictEqual((ended.cause as { offset: number }).offset, 2)
    }))

  it.effect("rejects a length above the limit before the payload has arrived", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", maxMessageSize: 1000 })
      peer.sendBytes(bytes(0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4))
      const ended = yield* Effect.flip(connection.receive)
      assert.strictEqual(ended.cause?._tag, "MessageTooLarge")
    }))

  it.effect("rejects a frame above the limit of the codec, whatever the limit on messages", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" }).pipe(
        Effect.provide(Frame.layerCodec({ maxFrameSize: 10 }))
      )
      peer.send(Frame.ping(new Uint8Array(100)), Frame.binary(new Uint8Array(11)))
      const ended = yield* Effect.flip(connection.receive)
      assert.deepStrictEqual([ended.cause?._tag, ended.code], ["FrameTooLarge", 1009])
    }))

  it.effect("does not wait for the peer's reply, but reads until the transport ends", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", closeTimeout: "3 seconds" })
      peer.send(Frame.continuation("x"))
      yield* settle
      for (let i = 0; i < 100; i++) peer.send(Frame.binary(new Uint8Array(10_000)))
      yield* settle
      assert.isFalse(peer.isClosed)
      const closed = yield* Effect.forkChild(connection.closed)
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual((yield* Fiber.join(closed)).cause?._tag, "UnexpectedContinuation")
    }))
})
