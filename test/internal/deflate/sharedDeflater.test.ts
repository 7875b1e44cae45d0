import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Frame } from "effect-ws"
import { SharedDeflater } from "../../../src/internal/deflate/sharedDeflater.ts"
import { ZlibPool } from "../../../src/internal/deflate/streamPool.ts"
import { TrafficCounter } from "../../../src/internal/deflate/trafficCounter.ts"
import { Timers } from "../../../src/internal/runtime/timers.ts"
import { randomBytes } from "node:crypto"
import { constants, inflateRawSync } from "node:zlib"
import { hex, rsv1, tick } from "../../support/deflate.ts"

const make = (threshold = 100) =>
  Effect.map(Effect.context<never>(), (context) => {
    const pool = new ZlibPool({ level: 2, memoryLevel: 5, releaseAfter: 1000, memoryLimit: Infinity })
    pool.addUser(Timers.of(context))
    const sent = new TrafficCounter()
    return { shared: new SharedDeflater(pool, 15, threshold, sent), sent }
  })

describe("SharedDeflater", () => {
  it.effect("compresses each message with an empty window, and sets RSV1 beside the bits of the frame", () =>
    Effect.gen(function*() {
      const { sent, shared } = yield* make()
      const payload = tick(1, 10)
      const frame = new Frame.Frame(Frame.Opcode.Text, payload, true, Frame.Reserved.Rsv2)
      const [first, second] = [shared.encode(frame, {})!, shared.encode(frame, {})!]
      assert.deepStrictEqual(first, second)
      assert.deepStrictEqual([first.opcode, first.fin, first.reserved], [
        frame.opcode,
        true,
        rsv1 | Frame.Reserved.Rsv2
      ])
      const whole = Buffer.concat([first.payload, Buffer.of(0x00, 0x00, 0xff, 0xff)])
      assert.strictEqual(hex(inflateRawSync(whole, { finishFlush: constants.Z_SYNC_FLUSH })), hex(payload))
      assert.deepStrictEqual(sent.snapshot, {
        uncompressed: 2 * payload.length,
        compressed: 2 * first.payload.length
      })
    }))

  it.effect("returns the same frame with compress: false, below the threshold, and if compression does not shorten it", () =>
    Effect.gen(function*() {
      const { sent, shared } = yield* make()
      const long = Frame.binary(tick(1, 10))
      const short = Frame.binary(tick(1, 10).subarray(0, 99))
      const noise = Frame.binary(Uint8Array.from(randomBytes(1000)))
      assert.strictEqual(shared.encode(long, { compress: false }), long)
      assert.strictEqual(shared.encode(short, {}), short)
      assert.strictEqual(shared.encode(noise, { compress: true }), noise)
      assert.deepStrictEqual(sent.snapshot, { uncompressed: 0, compressed: 0 })
      assert.strictEqual(shared.encode(Frame.binary(tick(1, 10).subarray(0, 100)), {})?.reserved, rsv1)
    }))

  it.effect("never compresses an empty message", () =>
    Effect.gen(function*() {
      const { shared } = yield* make(0)
      const empty = Frame.binary(new Uint8Array(0))
      assert.strictEqual(shared.encode(empty, {}), empty)
    }))

  it.effect("leaves payloads above 1 MiB to each connection", () =>
    Effect.gen(function*() {
      const { shared } = yield* make()
      const limit = 1024 * 1024
      assert.isUndefined(shared.encode(Frame.binary(new Uint8Array(limit + 1)), {}))
      assert.strictEqual(shared.encode(Frame.binary(new Uint8Array(limit)), {})?.reserved, rsv1)
    }))
})
