import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Transport } from "effect-ws"
import { transportDuplex } from "../../../src/internal/node/transportDuplex.ts"
import { settle } from "../../support/memory.ts"
import { eventually } from "../../support/resources.ts"
import { bytes, record } from "../../support/transport.ts"

describe("transportDuplex", () => {
  it.effect("pauses the transport while the reader of the stream does not read, and loses nothing", () =>
    Effect.gen(function*() {
      const [left, right] = yield* Transport.makePair()
      const duplex = transportDuplex(left)
      record(right)
      const chunk = new Uint8Array(16 * 1024).fill(7)
      const count = 40
      for (let i = 0; i < count; i++) right.write([chunk])
      yield* settle
      assert.isAtLeast(duplex.readableLength, duplex.readableHighWaterMark)
      assert.isBelow(duplex.readableLength, duplex.readableHighWaterMark + chunk.length)
      assert.strictEqual(right.bufferedAmount() + duplex.readableLength, count * chunk.length)
      let size = 0
      duplex.on("data", (data: Uint8Array) => {
        assert.isTrue(data.every((byte) => byte === 7))
        size += data.length
      })
      yield* eventually(() => size === count * chunk.length)
    }))

  it.effect("suspends writes while the transport is above its high-water mark", () =>
    Effect.gen(function*() {
      const [left, right] = yield* Transport.makePair({ highWaterMark: 4 })
      const duplex = transportDuplex(left)
      let written = 0
      for (const word of ["first", "second"]) duplex.write(bytes(word), () => written++)
      yield* settle
      assert.deepStrictEqual([written, left.bufferedAmount()], [0, 5])
      const { events } = record(right)
      yield* eventually(() => written === 2)
      assert.deepStrictEqual(events, ["data first", "data second"])
    }))

  it.effect("fails with the code of the transport's error, and ends with the transport", () =>
    Effect.gen(function*() {
      for (
        const [end, expected] of [
          [(peer: Transport.Transport) => peer.destroy(), "EPIPE"],
          [(peer: Transport.Transport) => peer.end(), undefined]
        ] as const
      ) {
        const [left, right] = yield* Transport.makePair()
        const duplex = transportDuplex(left)
        let code: string | undefined
        duplex.on("error", (error: NodeJS.ErrnoException) => {
          code = error.code
        })
        record(right)
        end(right)
        if (expected === undefined) duplex.resume().end()
        else duplex.write(bytes("lost"))
        yield* eventually(() => duplex.closed)
        assert.strictEqual(code, expected)
      }
    }))
})
