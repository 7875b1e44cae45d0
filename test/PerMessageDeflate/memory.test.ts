/** The memory of zlib's streams: when they exist, and when they are released. */
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Exit, Scope } from "effect"
import { type Extension, Frame, PerMessageDeflate } from "effect-ws"
import { TestClock } from "effect/testing"
import {
  anyOptions,
  anySent,
  compressed,
  continued,
  decode,
  encode,
  type Ends,
  fromHex,
  hello,
  helloAgain,
  hex,
  openClient,
  openEnds,
  openServer,
  type Sent,
  tick,
  transfer,
  withoutRequirements,
  zeros
} from "../support/deflate.ts"

const statsOf = (extension: PerMessageDeflate.PerMessageDeflate) =>
  Effect.map(extension.stats, ({ deflaters, inflaters, windows }) => ({ deflaters, inflaters, windows }))

/** The memory of a compressor with default options: 128 KiB of windows, 64 of hashes, and the rest. */
const deflaterSize = (128 + 64 + 8 + 8) * 1024

const message = (i: number, size = 10): Sent => ({ payload: tick(i, size), cuts: [], compress: true })

describe("zlib's streams", () => {
  it.effect("streams exist only from the first message to the end of the last connection", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make()
      const client = yield* openClient(PerMessageDeflate.make())
      yield* Effect.scoped(Effect.gen(function*() {
        const server = yield* openServer(extension)
        assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 0, inflaters: 0, windows: 0 })
        yield* transfer(client, server, message(1))
        assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 0, inflaters: 1, windows: 0 })
        yield* transfer(server, client, message(1))
        assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 1, inflaters: 1, windows: 0 })
        const { connections, memory } = yield* extension.stats
        assert.deepStrictEqual([connections, memory], [1, deflaterSize + 41 * 1024])
      }))
      const stats = yield* extension.stats
      assert.deepStrictEqual([stats.connections, stats.deflaters, stats.inflaters, stats.memory], [0, 0, 0, 0])
      assert.isBelow(stats.sent.compressed, stats.sent.uncompressed / 2)
      assert.strictEqual(stats.sent.uncompressed, stats.received.uncompressed)
    }))

  it.effect("an idle connection releases its streams, and keeps the window of its decompressor (ws issues 804, 1202)", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make({ releaseAfter: "1 minute" })
      const peers = PerMessageDeflate.make({ releaseAfter: "1 day" })
      const connections: Array<Ends> = []
      for (let i = 0; i < 3; i++) {
        connections.push({ server: yield* openServer(extension), client: yield* openClient(peers) })
      }
      const exchange = ({ client, server }: Ends, i: number) =>
        Effect.andThen(transfer(client, server, message(i)), transfer(server, client, message(i)))
      const size = tick(1, 10).length
      for (const connection of connections) yield* exchange(connection, 1)
      assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 3, inflaters: 3, windows: 0 })
      yield* TestClock.adjust("50 seconds")
      yield* exchange(connections[0], 2)
      assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 3, inflaters: 3, windows: 0 })
      yield* TestClock.adjust("1 minute")
      // Two sweeps have passed since the first use, and one since the second.
      yield* TestClock.adjust("10 seconds")
      const kept = yield* statsOf(extension)
      assert.strictEqual(kept.deflaters, 0)
      assert.strictEqual(kept.windows, 2 * size + tick(1, 10).length + tick(2, 10).length)
      for (const connection of connections) {
        const [frame] = yield* transfer(connection.client, connection.server, message(1))
        // It refers to an earlier message, in a window that was kept.
        assert.isBelow(frame.payload.length, 40)
        yield* transfer(connection.server, connection.client, message(3))
      }
      assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 3, inflaters: 3, windows: 0 })
    }))

  it.effect("a connection keeps its streams as long as it uses them", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make({ releaseAfter: "1 minute" })
      const { client } = { client: yield* openClient(extension) }
      const server = yield* openServer(PerMessageDeflate.make())
      const sizes: Array<number> = []
      for (let i = 0; i < 5; i++) {
        const [frame] = yield* transfer(client, server, message(1))
        sizes.push(frame.payload.length)
        assert.strictEqual((yield* statsOf(extension)).deflaters, 1)
        yield* TestClock.adjust("1 minute")
      }
      assert.isBelow(Math.max(...sizes.slice(1)), sizes[0] / 5)
      assert.strictEqual((yield* statsOf(extension)).deflaters, 1)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* statsOf(extension)).deflaters, 0)
      const [frame] = yield* transfer(client, server, message(1))
      assert.strictEqual(frame.payload.length, sizes[0])
    }))

  it.effect("streams are released above memoryLimit, the least recently used first", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make({ memoryLimit: 3 * deflaterSize })
      const peers = PerMessageDeflate.make()
      const connections: Array<Ends> = []
      for (let i = 0; i < 5; i++) {
        connections.push({ client: yield* openClient(extension), server: yield* openServer(peers) })
      }
      const first = new Map<Ends, number>()
      const send = (connection: Ends) =>
        Effect.map(transfer(connection.client, connection.server, message(1)), ([frame]) => frame.payload.length)
      for (const connection of connections.slice(0, 3)) first.set(connection, yield* send(connection))
      const fresh = first.get(connections[0])!
      assert.isBelow(yield* send(connections[0]), fresh)
      assert.strictEqual(yield* send(connections[3]), fresh)
      assert.strictEqual((yield* extension.stats).memory, 3 * deflaterSize)
      assert.isBelow(yield* send(connections[0]), fresh)
      assert.strictEqual(yield* send(connections[1]), fresh)
      assert.strictEqual((yield* extension.stats).deflaters, 3)
    }))

  it.effect("a decompressor is not released in the middle of a message", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make({ memoryLimit: 0, releaseAfter: "1 second" })
      const one = yield* openServer(extension)
      const other = yield* openServer(extension)
      const client = yield* openClient(PerMessageDeflate.make())
      const whole = yield* encode(client, Frame.binary(tick(1, 50)))
      const middle = whole.payload.length >> 1
      const parts = [compressed(whole.payload.slice(0, middle), false), continued(whole.payload.slice(middle), true)]
      const start = yield* decode(one, parts[0])
      yield* decode(other, hello)
      yield* TestClock.adjust("1 hour")
      const end = yield* decode(one, parts[1])
      assert.strictEqual(hex(Buffer.concat([start.payload, end.payload])), hex(tick(1, 50)))
    }))

  it.effect("no window is kept after a final block that ended a message", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make({ releaseAfter: "1 second" })
      const session = yield* openServer(extension)
      for (let i = 0; i < 3; i++) {
        // "Hello", and an empty final block, whose length is the marker that the receiver appends.
        const { payload } = yield* decode(session, compressed(fromHex("f2 48 cd c9 c9 07 00 00 00 ff ff 01")))
        assert.strictEqual(Buffer.from(payload).toString(), "Hello")
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 0, inflaters: 0, windows: 0 })
      }
    }))

  it.effect("a window is dropped at a final block, and at the end of its connection", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make({ releaseAfter: "1 second" })
      // Keeps the pool open, and so its idle streams.
      yield* openServer(extension)
      const begin = Effect.gen(function*() {
        const session = yield* openServer(extension)
        yield* decode(session, hello)
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 0, inflaters: 0, windows: 5 })
        const { payload } = yield* decode(session, helloAgain)
        assert.strictEqual(Buffer.from(payload).toString(), "Hello")
        return session
      })
      yield* Effect.scoped(Effect.gen(function*() {
        const session = yield* begin
        yield* decode(session, compressed(fromHex("f3 48 cd c9 c9 07 00 00")))
        // The last "Hello" ended with a final block.
        assert.strictEqual((yield* Effect.flip(decode(session, helloAgain)))._tag, "InvalidExtensionData")
      }))
      yield* Effect.scoped(begin)
      const next = yield* openServer(extension)
      assert.strictEqual((yield* Effect.flip(decode(next, helloAgain)))._tag, "InvalidExtensionData")
    }))

  it.effect("a compressor is not released in the middle of a large message", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make({ memoryLimit: 0, releaseAfter: "1 second" })
      const one = yield* openServer(extension)
      const other = yield* openServer(extension)
      const client = yield* openClient(PerMessageDeflate.make())
      yield* transfer(one, client, message(1))
      const payload = tick(1, 5000)
      const encoding = one.encode(Frame.binary(payload), {})
      assert.isTrue(Effect.isEffect(encoding))
      yield* encode(other, Frame.binary(tick(1, 50)))
      yield* TestClock.adjust("1 hour")
      const { payload: decoded } = yield* decode(client, yield* encoding as Effect.Effect<Frame.Frame>)
      assert.strictEqual(hex(decoded), hex(payload))
    }))

  it.effect("connections without context takeover share their streams", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make({ serverNoContextTakeover: true, clientNoContextTakeover: true })
      const client = yield* openClient(
        PerMessageDeflate.make(),
        "server_no_context_takeover; client_no_context_takeover"
      )
      for (let i = 0; i < 20; i++) {
        const server = yield* openServer(extension)
        yield* transfer(client, server, message(i))
        yield* transfer(server, client, message(i))
      }
      assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 1, inflaters: 1, windows: 0 })
    }))

  it.effect.prop(
    "messages arrive unchanged, however often streams are released",
    { options: anyOptions, messages: Arbitrary.array(Arbitrary.all([anySent, anySent])) },
    ({ messages, options }) =>
      Effect.gen(function*() {
        // Two connections, each of which evicts the streams of the other.
        const client = PerMessageDeflate.make({ ...withoutRequirements(options), memoryLimit: 0 })
        const server = PerMessageDeflate.make({ ...options, memoryLimit: 0 })
        const connections = [yield* openEnds(client, server), yield* openEnds(client, server)]
        for (const [up, down] of messages) {
          for (const { client: c, server: s } of connections) {
            yield* transfer(c, s, up)
            yield* transfer(s, c, down)
          }
        }
      }).pipe(Effect.scoped),
    // Each run sends each message over two connections, in both directions.
    { arbitrary: { runs: 40 } }
  )

  it.effect("a message that ends within a block reveals no data of another connection", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make({ memoryLimit: 0 })
      const victim = yield* openServer(extension)
      const attacker = yield* openServer(extension)
      const client = yield* openClient(PerMessageDeflate.make())
      yield* decode(victim, yield* encode(client, Frame.binary(tick(1, 50))))
      // A stored block that declares more bytes than follow.
      const cut = compressed(fromHex("f2 48 cd c9 c9 07 00 00 00 ff ff 00 10 00 ef ff 01 02"))
      for (const frame of [cut, helloAgain]) {
        const error = yield* Effect.flip(decode(attacker, frame))
        assert.strictEqual(error._tag, "InvalidExtensionData")
        assert.include(error.message, "a message ended within a block")
      }
    }))

  it.effect("each stream is released at its own time, and new streams are released again", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make({ releaseAfter: "1 minute" })
      const sessions: Array<Extension.Session> = []
      for (let i = 0; i < 3; i++) sessions.push(yield* openServer(extension))
      for (const session of sessions) yield* decode(session, hello)
      // One is used later than the others, and so outlives the sweep that releases them.
      yield* TestClock.adjust("90 seconds")
      yield* decode(sessions[2], hello)
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 0, inflaters: 1, windows: 10 })
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 0, inflaters: 0, windows: 20 })
      // No stream is left, so the next one starts the sweeps again.
      yield* decode(sessions[0], hello)
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 0, inflaters: 0, windows: 25 })
    }))
})

describe("the end of a connection", () => {
  it.effect("closes its streams in the middle of a message (ws issue 1617)", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make()
      const other = yield* openServer(extension)
      const scope = yield* Scope.make()
      const session = yield* Effect.provideService(openServer(extension), Scope.Scope, scope)
      const encoding = session.encode(Frame.binary(new Uint8Array(2 ** 22)), {})
      const decoding = session.decode(compressed(zeros(4)), { used: 0, limit: 2 ** 30 })
      assert.isTrue(Effect.isEffect(encoding))
      assert.isTrue(Effect.isEffect(decoding))
      assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 1, inflaters: 1, windows: 0 })
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 0, inflaters: 0, windows: 0 })
      yield* encoding as Effect.Effect<Frame.Frame>
      const error = yield* Effect.flip(decoding as Effect.Effect<Frame.Frame, Extension.DecodeError>)
      assert.strictEqual(error._tag, "InvalidExtensionData")
      // Nor do later messages.
      const late = yield* encode(session, Frame.binary(tick(1, 50)))
      assert.strictEqual(late.payload.length, tick(1, 50).length)
      assert.strictEqual((yield* Effect.flip(decode(session, compressed(fromHex("00")))))._tag, "InvalidExtensionData")
      assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 0, inflaters: 0, windows: 0 })
      yield* encode(other, Frame.binary(tick(1, 50)))
      assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 1, inflaters: 0, windows: 0 })
    }))
})
