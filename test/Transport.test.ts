import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Transport } from "effect-ws"
import { settle } from "./support/memory.ts"
import { socketPair } from "./support/net.ts"
import { eventually } from "./support/resources.ts"
import { bytes, record } from "./support/transport.ts"

describe("layerDuplex", () => {
  it.live("provides a transport over the stream, with the head before what the stream reads", () =>
    Effect.gen(function*() {
      const [left, right] = yield* socketPair
      right.write("then this")
      const transport = yield* Effect.provide(Transport.Transport, Transport.layerDuplex(left, bytes("the head, ")))
      const { events } = record(transport)
      yield* eventually(() => events.join("").endsWith("this"))
      assert.strictEqual(events.join("").replaceAll("data ", ""), "the head, then this")
    }))
})

describe("makePair", () => {
  it.effect("write returns false from 16 KiB of undelivered bytes on, by default", () =>
    Effect.gen(function*() {
      const [left, right] = yield* Transport.makePair()
      record(right)
      record(left)
      right.pause()
      assert.isTrue(left.write([new Uint8Array(16 * 1024 - 1)]))
      assert.isFalse(left.write([new Uint8Array(1)]))
      yield* settle
    }))

  it.effect("a high-water mark below 1 is a defect", () =>
    Effect.gen(function*() {
      for (const highWaterMark of [0, NaN]) {
        const exit = yield* Effect.exit(Transport.makePair({ highWaterMark }))
        assert.include(String(exit), "highWaterMark")
      }
    }))
})
