/** Data that is not DEFLATE, and messages that do not end between two blocks (RFC 7692 §7.2.2). */
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect } from "effect"
import { type Frame, PerMessageDeflate } from "effect-ws"
import { randomBytes } from "node:crypto"
import * as Zlib from "node:zlib"
import {
  assertSameBytes,
  compressed,
  continued,
  decode,
  fromHex,
  hello,
  helloAgain,
  openServer,
  textOf,
  tick,
  zeros
} from "../support/deflate.ts"
import { ReferenceInflater } from "../support/inflate.ts"
import { settle } from "../support/memory.ts"
import { anyBoolean, anyPayload } from "../support/properties.ts"

describe("data that is not DEFLATE (RFC 7692 §7.2.2)", () => {
  for (
    const [name, data, problem] of [
      ["a reserved block type", "07", "invalid block type"],
      ["a stored block with a wrong length", "00 05 00 00 00", "invalid stored block lengths"],
      ["a reference to before the first byte", "f2 00 11 00 00", "invalid distance too far back"],
      ["too many codes", "04 ff ff ff ff ff", undefined]
    ] as const
  ) {
    it.effect(`fails with InvalidExtensionData, and so does each later message: ${name}`, () =>
      Effect.gen(function*() {
        const extension = PerMessageDeflate.make()
        const session = yield* openServer(extension)
        for (const frame of [compressed(fromHex(data)), hello]) {
          const error = yield* Effect.flip(decode(session, frame))
          assert.strictEqual(error._tag, "InvalidExtensionData")
          if (problem !== undefined) assert.include(error.message, problem)
        }
        yield* settle
        const { inflaters } = yield* extension.stats
        assert.strictEqual(inflaters, 0)
        // The next connection gets a stream that works.
        const next = yield* openServer(extension)
        assert.strictEqual(textOf(yield* decode(next, hello)), "Hello")
      }))
  }

  it.effect("fails in the middle of a large message", () =>
    Effect.gen(function*() {
      const session = yield* openServer(PerMessageDeflate.make())
      const data = Uint8Array.from(Buffer.concat([zeros(4), fromHex("07")]))
      const error = yield* Effect.flip(decode(session, compressed(data)))
      assert.strictEqual(error._tag, "InvalidExtensionData")
      yield* settle
    }))

  it.effect("fails if a message refers to the one before it without context takeover", () =>
    Effect.gen(function*() {
      const session = yield* openServer(PerMessageDeflate.make(), "client_no_context_takeover")
      yield* decode(session, hello)
      const error = yield* Effect.flip(decode(session, helloAgain))
      assert.strictEqual(error._tag, "InvalidExtensionData")
    }))

  it.effect.prop(
    "never throws, with any bytes",
    { payloads: Arbitrary.array(anyPayload), fins: Arbitrary.array(anyBoolean) },
    ({ fins, payloads }) =>
      Effect.gen(function*() {
        const session = yield* openServer(PerMessageDeflate.make())
        for (const [i, payload] of payloads.entries()) {
          yield* Effect.ignore(decode(session, compressed(payload, fins[i] ?? true), { used: 0, limit: 100_000 }))
        }
        yield* settle
      }).pipe(Effect.scoped)
  )
})

describe("a message that ends within a block (RFC 7692 §7.2.2)", () => {
  const deflated = (data: Uint8Array, options: Zlib.ZlibOptions = {}) => {
    const flushed = Zlib.deflateRawSync(data, { ...options, finishFlush: Zlib.constants.Z_SYNC_FLUSH })
    return flushed.subarray(0, -4)
  }
  const text = tick(1, 2)
  /** Whole messages, and the type of their first block (RFC 1951 §3.2.3): 0 stored, 1 fixed codes, 2 dynamic codes. */
  const messages: ReadonlyArray<readonly [name: string, payload: Uint8Array, firstBlock: number]> = [
    ["an empty message", fromHex("00"), 0],
    ["fixed codes", deflated(text, { strategy: Zlib.constants.Z_FIXED }), 1],
    ["dynamic codes", deflated(tick(1, 12), { level: 9 }), 2],
    ["a stored block", deflated(text, { level: 0 }), 0],
    ["a stored block of flush markers", deflated(Buffer.alloc(64, fromHex("0000ffff")), { level: 0 }), 0],
    ["many small blocks", Buffer.concat([fromHex("02 00 00 00 ff ff"), deflated(tick(1, 12), { memLevel: 1 })]), 1],
    ["several flushes", Buffer.concat([deflated(text), fromHex("00 00 ff ff"), deflated(text)]), 1],
    ["a final block", Buffer.concat([Zlib.deflateRawSync(text), fromHex("00")]), 1],
    ["two DEFLATE streams", Buffer.concat([Zlib.deflateRawSync(text), deflated(text)]), 1]
  ]
  /** Messages that refer to nothing before them. */
  const following = [fromHex("00"), hello.payload, deflated(new Uint8Array(100), { level: 0 }), deflated(text)]

  /** The frames of a message that is cut into fragments of `size` bytes. The last may be empty. */
  const fragmentsOf = (payload: Uint8Array, size: number): Array<Frame.Frame> => {
    const frames = [compressed(payload.slice(0, size), size > payload.length)]
    for (let at = size; at <= payload.length; at += size) {
      frames.push(continued(payload.slice(at, at + size), at + size > payload.length))
    }
    return frames
  }

  /** Decodes messages up to the first failure, checks each against zlib's own result, and returns their number. */
  const deliver = (payloads: ReadonlyArray<Uint8Array>, takeover: boolean, size: number) =>
    Effect.gen(function*() {
      const session = yield* openServer(
        PerMessageDeflate.make({ releaseAfter: "1 second", memoryLimit: size % 2 === 0 ? 0 : 2 ** 27 }),
        takeover ? "" : "client_no_context_takeover"
      )
      const inflater = new ReferenceInflater(takeover)
      for (const [i, payload] of payloads.entries()) {
        const parts: Array<Uint8Array> = []
        for (const frame of fragmentsOf(payload, size)) {
          const result = yield* Effect.result(decode(session, frame))
          if (result._tag === "Failure") {
            assert.strictEqual(result.failure._tag, "InvalidExtensionData")
            return i
          }
          parts.push(result.success.payload)
        }
        assertSameBytes(Buffer.concat(parts), inflater.inflate(payload)!)
      }
      return payloads.length
    }).pipe(Effect.scoped)

  for (const [name, payload, firstBlock] of messages) {
    it.effect(`fails at every cut within a block, and is delivered whole with those behind it: ${name}`, () =>
      Effect.gen(function*() {
        assert.strictEqual(payload[0] >> 1 & 3, firstBlock)
        for (const takeover of [true, false]) {
          for (const size of [payload.length + 1, payload.length, 1, 2]) {
            const all = [following[1], payload, ...following]
            assert.strictEqual(yield* deliver(all, takeover, Math.max(1, size)), all.length)
          }
          for (let at = 0; at < payload.length; at++) {
            const all = [following[1], payload.slice(0, at), ...following]
            const isMessage = new ReferenceInflater(false).inflate(payload.slice(0, at)) !== undefined
            const delivered = yield* deliver(all, takeover, at % 3 === 0 ? 7 : 10_000)
            assert.strictEqual(delivered, isMessage ? all.length : 1, `cut at ${at}`)
          }
        }
      }))
  }

  it.effect("fails in a large message", () =>
    Effect.gen(function*() {
      const payload = deflated(Uint8Array.from(randomBytes(70_000), (byte) => byte & 0x3f))
      assert.isAbove(payload.length, 50_000)
      for (const at of [0, 1, 2, 1000, payload.length >> 1].map((less) => payload.length - less)) {
        const all = [payload.slice(0, at), ...following]
        assert.strictEqual(yield* deliver(all, true, 2 ** 20), at === payload.length ? all.length : 0)
      }
    }))

  it.effect("fails without any bytes, and does not turn the next messages into a stored block", () =>
    Effect.gen(function*() {
      const empty = Array.from({ length: 300 }, () => fromHex("00"))
      assert.strictEqual(yield* deliver([following[1], fromHex(""), ...empty], true, 10), 1)
      assert.strictEqual(yield* deliver([following[1], ...empty, following[1]], true, 10), 302)
    }))
})
