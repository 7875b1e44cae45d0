/** The size limit of a message, and the time that a peer's data takes. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Extension, Frame, PerMessageDeflate, type ProtocolError } from "effect-ws"
import { randomBytes } from "node:crypto"
import * as Zlib from "node:zlib"
import {
  compressed,
  continued,
  decode,
  encode,
  fromHex,
  hello,
  openBoth,
  openServer,
  zeros
} from "../support/deflate.ts"
import { makeRaw, settle } from "../support/memory.ts"
import { countTurns } from "../support/turns.ts"

describe("a bomb (CVE-2026-1526, CVE-2018-1000518, CVE-2026-39804)", () => {
  it.effect("fails with MessageTooLarge at the limit, with 2 GiB in 2 MiB", () =>
    Effect.gen(function*() {
      const limit = 4 * 2 ** 20
      const session = yield* openServer(PerMessageDeflate.make())
      const error = yield* Effect.flip(decode(session, compressed(zeros(2048)), { used: 0, limit }))
      assert.deepInclude({ ...error }, { _tag: "MessageTooLarge", size: limit + 1, limit })
    }))

  for (
    const [limit, used] of [
      [0, 0],
      [1, 0],
      [1, 1],
      [1000, 990],
      [65_535, 0],
      [65_536, 0],
      [65_537, 0],
      [200_000, 100_000]
    ]
  ) {
    it.effect(`passes at a limit of ${limit} after ${used} bytes, and fails one byte above it`, () =>
      Effect.gen(function*() {
        const remaining = limit - used
        for (const size of [remaining, remaining + 1]) {
          const { client, server } = yield* openBoth({ threshold: 0 })
          const frame = size === 0
            ? compressed(fromHex("00"))
            : yield* encode(client, Frame.binary(new Uint8Array(size)))
          const result = yield* Effect.result(decode(server, frame, { used, limit }))
          if (size === remaining) assert.strictEqual(result._tag, "Success")
          else {
            assert.strictEqual(result._tag, "Failure")
            const error = (result as { readonly failure: Extension.DecodeError })
              .failure as ProtocolError.MessageTooLarge
            assert.deepStrictEqual([error._tag, error.size, error.limit], ["MessageTooLarge", limit + 1, limit])
          }
        }
      }))
  }

  it.effect("fails at the limit in many fragments", () =>
    Effect.gen(function*() {
      const session = yield* openServer(PerMessageDeflate.make())
      let used = 0
      const limit = 5_000_000
      const error = yield* Effect.flip(
        Effect.gen(function*() {
          for (let i = 0;; i++) {
            const frame = i === 0 ? compressed(zeros(1), false) : continued(zeros(1), false)
            used += (yield* decode(session, frame, { used, limit })).payload.length
          }
        })
      )
      assert.strictEqual(error._tag, "MessageTooLarge")
      assert.strictEqual(used, 4 * 2 ** 20)
    }))

  it.effect("fails once, with MessageTooLarge, if invalid data follows the limit (CVE-2026-85024)", () =>
    Effect.gen(function*() {
      const session = yield* openServer(PerMessageDeflate.make())
      const bomb = Uint8Array.from(Buffer.concat([zeros(4), fromHex("07 ff ff ff")]))
      const error = yield* Effect.flip(decode(session, compressed(bomb), { used: 0, limit: 2 ** 20 }))
      assert.strictEqual(error._tag, "MessageTooLarge")
      const again = yield* Effect.flip(decode(session, hello))
      assert.strictEqual(again._tag, "MessageTooLarge")
      yield* settle
    }))

  for (
    const [name, block, isFinal] of [
      ["empty final blocks", "03 00", true],
      ["empty blocks", "00 00 00 ff ff", false],
      ["final blocks", "f3 48 cd c9 c9 07 00", true]
    ] as const
  ) {
    it.effect(`leaves turns to the event loop with many ${name}`, () =>
      Effect.gen(function*() {
        const session = yield* openServer(PerMessageDeflate.make())
        const { length } = fromHex(block)
        const blocks = Buffer.alloc(300_000 - 300_000 % length, fromHex(block))
        const payload = Uint8Array.from(Buffer.concat([blocks, fromHex("00")]))
        const [, turns] = yield* countTurns(decode(session, compressed(payload)))
        // A turn for each 64 KiB, and for each 64 final blocks.
        assert.isAtLeast(turns, isFinal ? payload.length / length / 64 - 1 : 4)
      }))
  }
})

describe("a message of exactly maxMessageSize", () => {
  const maxMessageSize = 100_000
  const noise = Uint8Array.from(randomBytes(maxMessageSize + 1))
  /** Stored blocks of `size` bytes each (RFC 1951 §3.2.4). */
  const stored = (data: Uint8Array, size: number) => {
    const blocks: Array<Uint8Array> = []
    for (let at = 0; at < data.length; at += size) {
      const block = data.subarray(at, at + size)
      const header = Buffer.alloc(5)
      header.writeUInt16LE(block.length, 1)
      header.writeUInt16LE(0xffff ^ block.length, 3)
      blocks.push(header, block)
    }
    return Uint8Array.from(Buffer.concat([...blocks, fromHex("00")]))
  }
  const encodings: ReadonlyArray<readonly [string, (data: Uint8Array) => Uint8Array]> = [
    ["by zlib", (data) => Zlib.deflateRawSync(data, { finishFlush: Zlib.constants.Z_SYNC_FLUSH }).subarray(0, -4)],
    ["in stored blocks of 64 KiB", (data) => stored(data, 65_535)],
    ["in stored blocks of 5 bytes", (data) => stored(data, 5)]
  ]
  for (const [how, encodeWith] of encodings) {
    it.effect(`passes if compression makes it longer, encoded ${how}, and fails with one byte more`, () =>
      Effect.gen(function*() {
        for (const frames of [1, 7]) {
          for (const size of [maxMessageSize, maxMessageSize + 1]) {
            const deflate = PerMessageDeflate.make()
            const negotiated = Extension.accept([deflate], Extension.offer([deflate]))
            const { connection, peer } = yield* makeRaw({ role: "server", negotiated, maxMessageSize })
            const payload = encodeWith(noise.slice(0, size))
            assert.isAbove(payload.length, size)
            const length = Math.ceil(payload.length / frames)
            for (let at = 0; at < payload.length; at += length) {
              const part = payload.slice(at, at + length)
              const fin = at + length >= payload.length
              peer.send(at === 0 ? compressed(part, fin, Frame.Opcode.Binary) : continued(part, fin))
            }
            const result = yield* Effect.result(connection.receive)
            if (size === maxMessageSize) {
              assert.strictEqual(result._tag, "Success")
              assert.isTrue(result._tag === "Success" && Buffer.from(noise.slice(0, size)).equals(result.success.bytes))
            } else {
              assert.strictEqual(result._tag === "Failure" && result.failure.cause?._tag, "MessageTooLarge")
            }
          }
        }
      }))
  }
})
