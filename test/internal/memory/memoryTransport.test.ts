import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Transport } from "effect-ws"
import { settle } from "../../support/memory.ts"
import { bytes, record } from "../../support/transport.ts"

describe("makePair", () => {
  it.effect("a destroyed end gets no drain", () =>
    Effect.gen(function*() {
      const [left, right] = yield* Transport.makePair({ highWaterMark: 4 })
      const l = record(left)
      assert.isFalse(left.write([bytes("12345")]))
      left.destroy()
      const r = record(right)
      yield* settle
      assert.deepStrictEqual([l.events, r.events], [["close"], ["data 12345", "end"]])
    }))

  it.effect("a destroyed end gets neither data nor the end of its peer", () =>
    Effect.gen(function*() {
      const [left, right] = yield* Transport.makePair()
      right.write([bytes("a")])
      right.end()
      const l = record(left)
      left.destroy()
      yield* settle
      assert.deepStrictEqual(l.events, ["close"])
    }))

  it.effect("delivers each write as one chunk, in order, in both directions, after start has returned", () =>
    Effect.gen(function*() {
      const [left, right] = yield* Transport.makePair()
      left.write([bytes("a"), bytes("b")])
      left.write([bytes("c")])
      const r = record(right)
      assert.deepStrictEqual(r.events, [])
      const l = record(left)
      right.write([bytes("back")])
      yield* settle
      assert.deepStrictEqual(r.events, ["data ab", "data c"])
      assert.deepStrictEqual(l.events, ["data back"])
    }))

  it.effect("lends the chunks that it delivers, and does not change the bytes that were written", () =>
    Effect.gen(function*() {
      const [left, right] = yield* Transport.makePair()
      const lent: Array<Uint8Array> = []
      right.start({ onData: (chunk) => lent.push(chunk), onDrain: () => {}, onEnd: () => {}, onClose: () => {} })
      const sent = bytes("abc")
      left.write([sent])
      yield* settle
      assert.deepStrictEqual([lent, sent], [[Buffer.alloc(3)], bytes("abc")])
    }))

  it.effect("write returns false at the high-water mark, and a drain follows", () =>
    Effect.gen(function*() {
      const [left, right] = yield* Transport.makePair({ highWaterMark: 4 })
      const l = record(left)
      record(right)
      right.pause()
      assert.isTrue(left.write([bytes("abc")]))
      assert.isFalse(left.write([bytes("d")]))
      assert.strictEqual(left.bufferedAmount(), 4)
      yield* settle
      assert.deepStrictEqual(l.events, [])
      right.resume()
      yield* settle
      assert.deepStrictEqual(l.events, ["drain"])
      assert.strictEqual(left.bufferedAmount(), 0)
      assert.isTrue(left.write([bytes("e")]))
    }))

  it.effect("delivers neither data nor the end while paused", () =>
    Effect.gen(function*() {
      const [left, right] = yield* Transport.makePair()
      const r = record(right)
      right.pause()
      left.write([bytes("a")])
      left.end()
      yield* settle
      assert.deepStrictEqual(r.events, [])
      right.resume()
      yield* settle
      assert.deepStrictEqual(r.events, ["data a", "end"])
    }))

  it.effect("closes when both sides have ended, and each side can write until it ends", () =>
    Effect.gen(function*() {
      const [left, right] = yield* Transport.makePair()
      const l = record(left)
      const r = record(right)
      left.end()
      assert.isFalse(left.write([bytes("dropped")]))
      yield* settle
      right.write([bytes("still")])
      right.end()
      yield* settle
      assert.deepStrictEqual(r.events, ["end", "close"])
      assert.deepStrictEqual(l.events, ["data still", "end", "close"])
    }))

  it.effect("destroy closes at once, ends the other side, and fails its next write with EPIPE", () =>
    Effect.gen(function*() {
      const [left, right] = yield* Transport.makePair()
      const l = record(left)
      const r = record(right)
      left.destroy()
      left.destroy()
      yield* settle
      assert.deepStrictEqual(l.events, ["close"])
      assert.isUndefined(l.error())
      assert.deepStrictEqual(r.events, ["end"])
      assert.isFalse(right.write([bytes("x")]))
      yield* settle
      assert.deepStrictEqual(r.events, ["end", "close"])
      assert.strictEqual(r.error()?.code, "EPIPE")
    }))
})
