/** Messages through both ends: what is compressed, how, and that it arrives unchanged. */
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect } from "effect"
import { Frame, PerMessageDeflate } from "effect-ws"
import { randomBytes } from "node:crypto"
import * as Zlib from "node:zlib"
import {
  anyOptions,
  anySent,
  assertSameBytes,
  decode,
  encode,
  framesOf,
  hex,
  openBoth,
  openClient,
  openServer,
  rsv1,
  tick,
  transfer,
  withoutRequirements
} from "../support/deflate.ts"
import { countTurns } from "../support/turns.ts"
import { anyBoolean } from "../support/properties.ts"

/** Inflates whole messages with Node's public functions alone. With takeover, each after those before it. */
const inflateAll = (payloads: ReadonlyArray<Uint8Array>, takeover: boolean): Array<string> => {
  const marker = Uint8Array.of(0, 0, 0xff, 0xff)
  const all = payloads.map((payload) => Buffer.concat([payload, marker]))
  const inflate = (data: Uint8Array) =>
    Zlib.inflateRawSync(data, { finishFlush: Zlib.constants.Z_SYNC_FLUSH, maxOutputLength: 2 ** 28 })
  let before = 0
  return all.map((data, i) => {
    const inflated = inflate(takeover ? Buffer.concat(all.slice(0, i + 1)) : data)
    const message = hex(takeover ? inflated.subarray(before) : inflated)
    before = inflated.length
    return message
  })
}

describe("a message", () => {
  it.effect.prop(
    "arrives unchanged with any negotiated parameters and in any fragments",
    { client: anyOptions, server: anyOptions, messages: Arbitrary.array(Arbitrary.all([anySent, anyBoolean])) },
    ({ client, messages, server }) =>
      Effect.gen(function*() {
        const ends = yield* openBoth(withoutRequirements(client), server)
        for (const [message, isUp] of messages) {
          yield* isUp ? transfer(ends.client, ends.server, message) : transfer(ends.server, ends.client, message)
        }
      }).pipe(Effect.scoped)
  )

  it.effect.prop(
    "can be inflated by zlib alone",
    { options: anyOptions, messages: Arbitrary.array(anySent) },
    ({ messages, options }) =>
      Effect.gen(function*() {
        const server = yield* openServer(PerMessageDeflate.make(options), "client_max_window_bits")
        const sent: Array<Uint8Array> = []
        const expected: Array<string> = []
        for (const message of messages) {
          const frames: Array<Frame.Frame> = []
          for (const frame of framesOf(message)) frames.push(yield* encode(server, frame))
          if (frames[0].reserved === 0) continue
          sent.push(Buffer.concat(frames.map(({ payload }) => payload)))
          expected.push(hex(message.payload))
        }
        assert.deepStrictEqual(inflateAll(sent, options.serverNoContextTakeover !== true), expected)
      }).pipe(Effect.scoped)
  )

  it.effect("refers no further back than the client's own limit, although the server allows more (§7.1.2.2)", () =>
    Effect.gen(function*() {
      const noise = randomBytes(1000)
      for (const response of ["", "client_max_window_bits=15"]) {
        const client = yield* openClient(PerMessageDeflate.make({ clientMaxWindowBits: 9 }), response)
        const { payload } = yield* encode(client, Frame.binary(Buffer.concat([noise, noise])))
        assert.isAbove(payload.length, 1900)
      }
    }))

  it.effect("stays uncompressed below the threshold, and leaves the window as it was", () =>
    Effect.gen(function*() {
      const { client, server } = yield* openBoth({ threshold: 100 })
      const sizes: Array<number> = []
      for (const size of [0, 1, 99, 100, 101, 99, 100]) {
        const payload = tick(1, 3).subarray(0, size)
        const [frame] = yield* transfer(client, server, { payload, cuts: [], compress: true })
        assert.strictEqual(frame.reserved, size < 100 ? 0 : rsv1)
        sizes.push(frame.payload.length)
      }
      assert.isBelow(sizes[6], sizes[3] / 2)
    }))

  it.effect("the default threshold is 128 bytes, and 256 without context takeover", () =>
    Effect.gen(function*() {
      for (const [threshold, serverNoContextTakeover] of [[128, false], [256, true]] as const) {
        const { client, server } = yield* openBoth({ serverNoContextTakeover })
        for (const size of [threshold - 1, threshold]) {
          const [frame] = yield* transfer(server, client, {
            payload: new Uint8Array(size),
            cuts: [],
            compress: true
          })
          assert.strictEqual(frame.reserved, size < threshold ? 0 : rsv1, `${size} bytes`)
        }
      }
    }))

  it.effect("stays uncompressed with compress: false, in all its fragments", () =>
    Effect.gen(function*() {
      const { client, server } = yield* openBoth()
      for (const compress of [true, false, true, false]) {
        const frames = yield* transfer(client, server, { payload: tick(1, 20), cuts: [100, 300], compress })
        assert.deepStrictEqual(frames.map(({ reserved }) => reserved), [compress ? rsv1 : 0, 0, 0])
      }
    }))

  it.effect("stays uncompressed if compression does not shorten it and there is no context takeover", () =>
    Effect.gen(function*() {
      const payload = Uint8Array.from(randomBytes(2000))
      for (const clientNoContextTakeover of [true, false]) {
        const { client, server } = yield* openBoth({ clientNoContextTakeover })
        const [frame] = yield* transfer(client, server, { payload, cuts: [], compress: true })
        assert.strictEqual(frame.reserved, clientNoContextTakeover ? 0 : rsv1)
        yield* transfer(client, server, { payload: tick(1, 20), cuts: [], compress: true })
      }
    }))

  it.effect("arrives unchanged with empty fragments", () =>
    Effect.gen(function*() {
      const { client, server } = yield* openBoth({ threshold: 0 })
      const payload = tick(1, 10)
      const end = payload.length
      for (const cuts of [[0], [0, 0], [end], [end, end], [0, 5, 5, end]]) {
        yield* transfer(client, server, { payload, cuts, compress: true })
      }
      const frames = yield* transfer(client, server, { payload: new Uint8Array(0), cuts: [0], compress: true })
      assert.deepStrictEqual(frames.map((frame) => hex(frame.payload)), ["", "00"])
    }))

  for (const size of [65_530, 65_536, 65_537, 1_000_000]) {
    it.effect(`arrives unchanged with ${size} bytes of text, zeros or noise`, () =>
      Effect.gen(function*() {
        const { client, server } = yield* openBoth()
        const text = Uint8Array.from(
          Buffer.concat(Array.from({ length: Math.ceil(size / 700) }, (_, i) => tick(i, 12)))
        )
        for (const payload of [text.slice(0, size), new Uint8Array(size), Uint8Array.from(randomBytes(size))]) {
          for (const cuts of [[], [0, 70_000]]) yield* transfer(client, server, { payload, cuts, compress: true })
        }
        yield* transfer(client, server, { payload: tick(1, 9), cuts: [], compress: true })
      }))
  }

  it.effect("leaves turns to the event loop if it is large, in both directions", () =>
    Effect.gen(function*() {
      const { client, server } = yield* openBoth()
      const payload = new Uint8Array(2 ** 22)
      const [frame, encoding] = yield* countTurns(encode(client, Frame.binary(payload)))
      const [decoded, decoding] = yield* countTurns(decode(server, frame))
      assert.isAtLeast(encoding, 30)
      assert.isAtLeast(decoding, 20)
      assertSameBytes(decoded.payload, payload)
    }))

  it.effect("takes no Effect with 1 KiB, in both directions", () =>
    Effect.gen(function*() {
      const { client, server } = yield* openBoth()
      const frame = client.encode(Frame.binary(tick(1, 10)), {})
      assert.instanceOf(frame, Frame.Frame)
      assert.instanceOf(server.decode(frame as Frame.Frame, { used: 0, limit: 10_000 }), Frame.Frame)
    }))
})
