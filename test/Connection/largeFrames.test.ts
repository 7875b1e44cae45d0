import { assert, describe, it } from "@effect/vitest"
import { Channel, Effect, Fiber, Stream } from "effect"
import { type Connection, Extension, Frame, Message, PerMessageDeflate } from "effect-ws"
import { patterned } from "../support/properties.ts"
import { interruptAtEachStep } from "../support/interruptAtEachStep.ts"
import { contentOf, makeRaw, opcodesOf, settle, turn } from "../support/memory.ts"
import type { MemoryPeer } from "../../src/internal/memory/peer.ts"

const kibibyte = 1024
const mark = 64 * kibibyte
/** What one read of a socket brings at most. */
const chunkSize = 64 * kibibyte
const piece = 64 * kibibyte

/** Sends bytes as a socket would deliver them. */
const sendInChunks = (peer: MemoryPeer, bytes: Uint8Array) => {
  for (let at = 0; at < bytes.length; at += chunkSize) peer.sendBytes(bytes.subarray(at, at + chunkSize))
}

const key = 0x3d21fa37
const large = patterned(1024 * kibibyte)
const wire = Frame.encode(Frame.binary(large), key)

const unread = (connection: Connection.Connection) => Effect.map(connection.stats, ({ unreadAmount }) => unreadAmount)

const fragmentsOf = (message: Connection.Fragments) =>
  message.fragments as Stream.Stream<Uint8Array, { readonly _tag: string }>

describe("a frame that is larger than the high-water mark", () => {
  it.effect("pauses the transport within a large frame that is not read", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      sendInChunks(peer, wire)
      yield* settle
      yield* turn
      const before = yield* unread(connection)
      assert.isTrue(before >= mark && before <= mark + chunkSize, `${before} bytes are unread`)
      assert.isBelow((yield* connection.stats).bytesIn, mark + 2 * chunkSize)
      const message = yield* connection.receive
      assert.isTrue(Buffer.from(large).equals(message.bytes))
      assert.strictEqual(yield* unread(connection), 0)
    }))

  it.effect("receives a large frame in pieces, with at most the mark and a read unread", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      sendInChunks(peer, wire.subarray(0, wire.length / 2))
      const message = yield* connection.receiveFragments
      assert.strictEqual(message._tag, "Binary")
      const got: Array<Uint8Array> = []
      let most = 0
      const reading = yield* Effect.forkChild(
        Stream.runForEach(fragmentsOf(message), (fragment) =>
          Effect.gen(function*() {
            got.push(fragment)
            // A slow reader.
            yield* turn
            most = Math.max(most, yield* unread(connection))
          }))
      )
      yield* settle
      while (got.length < 7) yield* turn
      sendInChunks(peer, wire.subarray(wire.length / 2))
      yield* Fiber.join(reading)
      assert.isTrue(Buffer.from(large).equals(Buffer.concat(got)))
      assert.deepStrictEqual(got.map(({ length }) => length), Array.from({ length: 16 }, () => piece))
      assert.isAtMost(most, mark + chunkSize + 64 * 2)
    }))

  it.effect("divides text between code points", () =>
    Effect.gen(function*() {
      const text = "€".repeat(100_000)
      const { connection, peer } = yield* makeRaw({ role: "server" })
      sendInChunks(peer, Frame.encode(Frame.text(text), key))
      const message = yield* connection.receiveFragments
      assert.strictEqual(message._tag, "Text")
      const parts = yield* Stream.runCollect(message.fragments as Stream.Stream<string, unknown>)
      assert.strictEqual(parts.length, Math.ceil(300_000 / piece))
      assert.strictEqual(parts.join(""), text)
    }))

  it.effect("counts a large frame once: in frames, in the limit on fragments, in statistics", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", maxFragments: 2 })
      const frames = [
        Frame.binary(large, { fin: false }),
        Frame.ping(),
        Frame.continuation(large),
        Frame.text("next")
      ]
      sendInChunks(peer, Buffer.concat(frames.map((frame) => Frame.encode(frame, key))))
      const got = yield* Stream.runCollect(Stream.take(connection.frames, 3))
      assert.deepStrictEqual(got.map(({ fin, opcode, payload }) => [opcode, fin, payload.length]), [
        [Frame.Opcode.Binary, false, large.length],
        [Frame.Opcode.Continuation, true, large.length],
        [Frame.Opcode.Text, true, 4]
      ])
      for (const { payload } of got.slice(0, 2)) assert.isTrue(Buffer.from(large).equals(payload))
      const { framesIn, messagesIn } = yield* connection.stats
      assert.deepStrictEqual([framesIn, messagesIn], [4, 2])
    }))

  it.effect("joins the rest of a frame for frames after another reader stopped", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const half = wire.length / 2
      sendInChunks(peer, wire.subarray(0, half))
      const receiving = yield* Effect.forkChild(connection.receive)
      yield* settle
      yield* turn
      assert.strictEqual(yield* unread(connection), 0)
      yield* Fiber.interrupt(receiving)
      const frames = yield* Effect.forkChild(Stream.runCollect(Stream.take(connection.frames, 1)))
      yield* settle
      yield* turn
      assert.isUndefined(frames.pollUnsafe())
      sendInChunks(peer, wire.subarray(half))
      const [frame] = yield* Fiber.join(frames)
      assert.deepStrictEqual([frame.opcode, frame.fin], [Frame.Opcode.Binary, true])
      assert.isTrue(Buffer.from(large).equals(frame.payload))
    }))

  for (const next of ["receive", "receiveFragments"] as const) {
    it.effect(`gives the whole frame to ${next} after a reader of frames was interrupted within it`, () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* makeRaw({ role: "server" })
        sendInChunks(peer, wire.subarray(0, wire.length / 2))
        const reading = yield* Effect.forkChild(Stream.runHead(connection.frames))
        yield* settle
        yield* turn
        yield* Fiber.interrupt(reading)
        sendInChunks(peer, wire.subarray(wire.length / 2))
        const parts = next === "receive"
          ? [(yield* connection.receive).bytes]
          : yield* Stream.runCollect(fragmentsOf(yield* connection.receiveFragments))
        assert.isTrue(Buffer.from(large).equals(Buffer.concat(parts)))
      }))
  }

  it.effect("skips the rest of a frame when another reader asks for a message", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      sendInChunks(peer, wire.subarray(0, wire.length / 2))
      const message = yield* connection.receiveFragments
      const receiving = yield* Effect.forkChild(connection.receive)
      sendInChunks(peer, wire.subarray(wire.length / 2))
      peer.send(Frame.text("next"))
      assert.strictEqual(contentOf(yield* Fiber.join(receiving)), "next")
      const error = yield* Effect.flip(Stream.runDrain(fragmentsOf(message)))
      assert.strictEqual(error._tag, "MessageSkipped")
    }))

  it.effect("fails with ConnectionClosed after its last fragment, when the connection ends within it", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      sendInChunks(peer, wire.subarray(0, wire.length / 2))
      const message = yield* connection.receiveFragments
      const got: Array<number> = []
      const reading = yield* Effect.forkChild(
        Effect.flip(Stream.runForEach(fragmentsOf(message), ({ length }) => Effect.sync(() => got.push(length))))
      )
      yield* settle
      yield* turn
      yield* turn
      peer.transport.destroy()
      assert.strictEqual((yield* Fiber.join(reading))._tag, "ConnectionClosed")
      assert.deepStrictEqual(got, Array.from({ length: 7 }, () => piece))
    }))

  it.effect("ends the connection at the first byte that is no text (RFC 6455 §8.1)", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const text = new Uint8Array(300_000).fill(0x61)
      text[200_000] = 0xff
      sendInChunks(peer, Frame.encode(Frame.text(text), key).subarray(0, 250_000))
      yield* Effect.forkChild(Effect.exit(connection.receive))
      const { cause } = yield* connection.closed
      yield* settle
      yield* turn
      assert.deepStrictEqual({ ...cause }, { _tag: "InvalidUtf8", where: "text message", offset: 200_000 })
      assert.deepStrictEqual(opcodesOf(peer.received), [Frame.Opcode.Close])
    }))

  it.effect("keeps the rest of an unread frame after this end has closed", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      sendInChunks(peer, wire.subarray(0, wire.length / 2))
      yield* settle
      const closing = yield* Effect.forkChild(connection.close(1000))
      yield* settle
      sendInChunks(peer, wire.subarray(wire.length / 2))
      peer.send(Frame.text("dropped"))
      yield* turn
      const message = yield* connection.receive
      assert.isTrue(Buffer.from(large).equals(message.bytes))
      peer.send(Frame.close(1000))
      const closed = yield* connection.closed
      assert.strictEqual(yield* Effect.flip(connection.receive), closed)
      peer.transport.destroy()
      yield* Fiber.join(closing)
    }))

  it.effect("gives each fragment once, interrupted at any step", () =>
    Effect.gen(function*() {
      const payload = large.subarray(0, 3 * piece)
      const bytes = Frame.encode(Frame.binary(payload), key)
      const points = yield* interruptAtEachStep(Effect.gen(function*() {
        const { connection, peer } = yield* makeRaw({ role: "server" })
        sendInChunks(peer, bytes.subarray(0, 70_000))
        const channel = Stream.toChannel(fragmentsOf(yield* connection.receiveFragments))
        const pull = yield* Channel.toPullScoped(channel, yield* Effect.scope)
        const got: Array<Uint8Array> = []
        const rest = Effect.gen(function*() {
          while (got.length < 3) got.push(...(yield* pull))
        })
        return {
          effect: rest,
          events: [() => sendInChunks(peer, bytes.subarray(70_000))],
          verify: () =>
            Effect.gen(function*() {
              yield* rest
              assert.isTrue(Buffer.from(payload).equals(Buffer.concat(got)))
            })
        }
      }))
      assert.isAbove(points, 5)
    }))
})

describe("a frame that is larger than the high-water mark, and extensions", () => {
  it.effect("decompresses a large frame while it arrives", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make()
      const [negotiated] = Extension.accept([extension], Extension.offer([extension]))
      const [peerNegotiated] = Extension.accept([extension], Extension.offer([extension]))
      const session = yield* peerNegotiated.open
      // Half of it can be compressed.
      let state = 1
      const payload = Uint8Array.from({ length: 600_000 }, (_, i) => {
        state = Math.imul(state, 1664525) + 1013904223
        return (i & 1024) === 0 ? 7 : state >>> 24
      })
      const outcome = session.encode(Frame.binary(payload), {})
      const frame = outcome instanceof Frame.Frame ? outcome : yield* outcome
      assert.isAbove(frame.payload.length, 3 * piece)
      const { connection, peer } = yield* makeRaw({ role: "server", negotiated: [negotiated] })
      const encoded = Frame.encode(frame, key)
      sendInChunks(peer, encoded.subarray(0, 2 * chunkSize))
      const message = yield* connection.receiveFragments
      const got: Array<Uint8Array> = []
      const reading = yield* Effect.forkChild(
        Stream.runForEach(fragmentsOf(message), (fragment) => Effect.sync(() => got.push(fragment)))
      )
      yield* settle
      yield* turn
      assert.isAbove(got.length, 0)
      sendInChunks(peer, encoded.subarray(2 * chunkSize))
      yield* Fiber.join(reading)
      assert.strictEqual(got.length, Math.ceil(frame.payload.length / piece))
      assert.isTrue(Buffer.from(payload).equals(Buffer.concat(got)))
      sendInChunks(peer, Frame.encode(Frame.text("next"), key))
      assert.strictEqual(contentOf(yield* connection.receive), "next")
    }))

  it.effect("gives the whole frame to an extension that does not accept pieces", () =>
    Effect.gen(function*() {
      const sizes: Array<number> = []
      const session: Extension.Session = {
        encode: (frame) => frame,
        decode: (frame) => {
          sizes.push(frame.payload.length)
          return frame
        }
      }
      const { connection, peer } = yield* makeRaw({
        role: "server",
        negotiated: [{ entry: { name: "x", parameters: [] }, reservedBits: 0, open: Effect.succeed(session) }]
      })
      sendInChunks(peer, wire)
      assert.deepStrictEqual(yield* connection.receive, Message.binary(large))
      assert.deepStrictEqual(sizes, [large.length])
    }))
})
