import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Frame, ProtocolError } from "effect-ws"
import { Deflater, Inflater } from "../../../src/internal/deflate/codec.ts"
import { DeflateSession } from "../../../src/internal/deflate/session.ts"
import { SharedDeflater } from "../../../src/internal/deflate/sharedDeflater.ts"
import { ZlibPool } from "../../../src/internal/deflate/streamPool.ts"
import { TrafficCounter } from "../../../src/internal/deflate/trafficCounter.ts"
import { Timers } from "../../../src/internal/runtime/timers.ts"
import { compressed, continued, fromHex, hello, noLimit, rsv1, textOf, tick } from "../../support/deflate.ts"

const { Rsv2 } = Frame.Reserved

const makeSession = (options: { readonly threshold?: number; readonly canSendUncompressed?: boolean } = {}) =>
  Effect.map(Effect.context<never>(), (context) => {
    const pool = new ZlibPool({ level: 2, memoryLevel: 5, releaseAfter: 1000, memoryLimit: Infinity })
    pool.addUser(Timers.of(context))
    const sent = new TrafficCounter()
    const received = new TrafficCounter()
    const direction = { takeover: options.canSendUncompressed !== true, windowBits: 15 } as const
    const session = new DeflateSession(new Deflater(pool, direction), new Inflater(pool, direction), {
      threshold: 0,
      canSendUncompressed: false,
      ...options,
      shared: new SharedDeflater(pool, 15, 0, sent),
      sent,
      received
    })
    return {
      pool,
      sent,
      received,
      encode: (frame: Frame.Frame, how = {}) => session.encode(frame, how) as Frame.Frame,
      session
    }
  })

describe("DeflateSession", () => {
  it.effect("sets RSV1 on the first frame of a compressed message only, and keeps other bits (RFC 7692 §6)", () =>
    Effect.gen(function*() {
      const { encode } = yield* makeSession()
      const first = encode(new Frame.Frame(Frame.Opcode.Text, tick(1), false, Rsv2))
      const last = encode(new Frame.Frame(Frame.Opcode.Continuation, tick(1), true, Rsv2))
      assert.deepStrictEqual([first.reserved, last.reserved], [rsv1 | Rsv2, Rsv2])
    }))

  it.effect("clears RSV1 of a decoded frame, and keeps other bits", () =>
    Effect.gen(function*() {
      const { session } = yield* makeSession()
      const frame = new Frame.Frame(Frame.Opcode.Text, hello.payload, true, rsv1 | Rsv2)
      assert.strictEqual((session.decode(frame, noLimit) as Frame.Frame).reserved, Rsv2)
    }))

  it.effect("returns the same frame below the threshold, and compresses fragments of any size", () =>
    Effect.gen(function*() {
      const { encode } = yield* makeSession({ threshold: 100 })
      const short = Frame.binary(tick(1).subarray(0, 99))
      assert.strictEqual(encode(short), short)
      assert.strictEqual(encode(Frame.binary(tick(1, 2).subarray(0, 100))).reserved, rsv1)
      assert.strictEqual(encode(Frame.binary(Uint8Array.of(1), { fin: false })).reserved, rsv1)
    }))

  it.effect("never compresses an empty message", () =>
    Effect.gen(function*() {
      const { encode } = yield* makeSession()
      const empty = Frame.binary(new Uint8Array(0))
      assert.strictEqual(encode(empty), empty)
    }))

  it.effect("returns the same frames of a message with compress: false", () =>
    Effect.gen(function*() {
      const { encode } = yield* makeSession()
      const frames = [
        Frame.binary(tick(1), { fin: false }),
        new Frame.Frame(Frame.Opcode.Continuation, tick(2), true)
      ]
      for (const frame of frames) assert.strictEqual(encode(frame, { compress: false }), frame)
    }))

  it.effect("sends a message uncompressed that compression does not shorten, if it may", () =>
    Effect.gen(function*() {
      const payload = Uint8Array.of(1, 2, 3)
      for (const canSendUncompressed of [true, false]) {
        const { encode, sent } = yield* makeSession({ canSendUncompressed })
        const frame = encode(Frame.binary(payload))
        assert.strictEqual(frame.reserved, canSendUncompressed ? 0 : rsv1)
        assert.strictEqual(sent.snapshot.uncompressed, canSendUncompressed ? 0 : 3)
        if (canSendUncompressed) assert.strictEqual(frame.payload, payload)
      }
    }))

  it.effect("counts the payloads that it compresses and decompresses", () =>
    Effect.gen(function*() {
      const { encode, received, sent, session } = yield* makeSession()
      const { payload } = encode(Frame.binary(tick(1)))
      assert.deepStrictEqual(sent.snapshot, { uncompressed: tick(1).length, compressed: payload.length })
      session.decode(hello, noLimit)
      session.decode(compressed(fromHex("07")), noLimit)
      assert.deepStrictEqual(received.snapshot, { uncompressed: 5, compressed: hello.payload.length })
    }))

  it.effect("compresses a message that becomes shorter, although it may send it uncompressed", () =>
    Effect.gen(function*() {
      const { encode } = yield* makeSession({ canSendUncompressed: true })
      const frame = encode(Frame.binary(tick(1, 10)))
      assert.strictEqual(frame.reserved, rsv1)
      assert.isBelow(frame.payload.length, tick(1, 10).length)
    }))

  it.effect("returns an error that it finds at once, and not an Effect that fails with it", () =>
    Effect.gen(function*() {
      const large = (yield* makeSession()).session.decode(hello, { used: 0, limit: 4 })
      assert.instanceOf(large, ProtocolError.MessageTooLarge)
      const invalid = (yield* makeSession()).session.decode(compressed(fromHex("07")), noLimit)
      assert.instanceOf(invalid, ProtocolError.InvalidExtensionData)
    }))

  it.effect("decodes a frame in pieces, as fragments", () =>
    Effect.gen(function*() {
      const { session } = yield* makeSession()
      assert.isTrue(session.acceptsPieces)
      const pieces = [compressed(hello.payload.subarray(0, 3), false), continued(hello.payload.subarray(3), true)]
      const decoded = pieces.map((piece) => session.decode(piece, noLimit) as Frame.Frame)
      assert.strictEqual(decoded.map(textOf).join(""), "Hello")
    }))

  it.effect("closes both of its streams, in the middle of a message too", () =>
    Effect.gen(function*() {
      const { encode, pool, session } = yield* makeSession()
      assert.isTrue(Effect.isEffect(encode(Frame.binary(new Uint8Array(2 ** 20)))))
      session.decode(compressed(hello.payload.subarray(0, 3), false), noLimit)
      assert.deepInclude(pool.usage, { deflaters: 1, inflaters: 1 })
      session.close()
      assert.deepStrictEqual(pool.usage, { deflaters: 0, inflaters: 0, memory: 0, windows: 0 })
    }))
})
