import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Frame } from "effect-ws"
import { facts, factsOf, hex, toHex, tooLarge } from "../support/frames.ts"

describe("FrameCodec", () => {
  it.effect("uses random mask keys and no limit by default", () =>
    Effect.gen(function*() {
      const codec = yield* Frame.FrameCodec
      assert.strictEqual(codec.maxFrameSize, Infinity)
      const { error } = codec.decoder({ role: "client" }).decode(hex("82 7f 00 00 00 00 01 00 00 01"))
      assert.deepStrictEqual(factsOf(error), tooLarge(16_777_217, 16_777_216))
      const larger = codec.decoder({ role: "client", maxFrameSize: 2 ** 31 }).decode(
        hex("82 7f 00 00 00 00 80 00 00 00")
      )
      assert.strictEqual(larger.partial?.length, 2 ** 31)
    }))

  it.effect("returns mask keys from the whole range (RFC 6455 §5.3, §10.3)", () =>
    Effect.gen(function*() {
      const { maskKey } = yield* Frame.FrameCodec
      const keys = Array.from({ length: 5000 }, maskKey)
      for (const key of keys) assert.strictEqual(key, key | 0)
      assert.isAbove(new Set(keys).size, 4990)
      for (let shift = 0; shift < 32; shift += 8) {
        assert.strictEqual(new Set(keys.map((key) => key >>> shift & 0xff)).size, 256)
      }
    }))

  it.effect("masks each frame of a client with a new key, and no frame of a server", () =>
    Effect.gen(function*() {
      const codec = yield* Frame.FrameCodec
      const zeros = Frame.binary(new Uint8Array(4))
      const seen = new Set<string>()
      for (let i = 0; i < 100; i++) {
        const wire = toHex(codec.encode(zeros, "client"))
        assert.strictEqual(wire.slice(0, 4), "8284")
        assert.strictEqual(wire.slice(4, 12), wire.slice(12))
        seen.add(wire)
      }
      assert.isAbove(seen.size, 95)
      assert.strictEqual(toHex(codec.encode(zeros, "server")), "820400000000")
    }))

  it.effect("uses the mask keys of layerCodec", () => {
    let key = 0
    return Effect.gen(function*() {
      const codec = yield* Frame.FrameCodec
      const wires = [
        codec.encode(Frame.text("a"), "client"),
        codec.encode(Frame.text("a"), "server"),
        codec.encode(Frame.ping(), "client")
      ]
      assert.deepStrictEqual(wires.map(toHex), ["81810100000060", "810161", "898002000000"])
      assert.strictEqual(codec.maskKey(), 3)
      assert.strictEqual(codec.maxFrameSize, Infinity)
    }).pipe(Effect.provide(Frame.layerCodec({ maskKey: () => ++key })))
  })

  it.effect("applies the limit of layerCodec, which no decoder exceeds", () =>
    Effect.gen(function*() {
      const codec = yield* Frame.FrameCodec
      assert.strictEqual(codec.maxFrameSize, 100)
      const read = (maxFrameSize: number | undefined, wire: string) =>
        factsOf(codec.decoder({ role: "client", maxFrameSize }).decode(hex(wire)).error)
      assert.isUndefined(read(undefined, "82 64"))
      assert.deepStrictEqual(read(undefined, "82 65"), tooLarge(101, 100))
      assert.deepStrictEqual(read(1000, "82 65"), tooLarge(101, 100))
      assert.isUndefined(read(50, "82 32"))
      assert.deepStrictEqual(read(50, "82 33"), tooLarge(51, 50))
      assert.deepStrictEqual(read(NaN, "82 01"), tooLarge(1, NaN))
      assert.isUndefined(read(50, `89 7d ${"00".repeat(125)}`))
      assert.notStrictEqual(codec.maskKey(), codec.maskKey())
    }).pipe(Effect.provide(Frame.layerCodec({ maxFrameSize: 100 }))))

  it.effect("uses the defaults if layerCodec has no options", () =>
    Effect.gen(function*() {
      const codec = yield* Frame.FrameCodec
      assert.strictEqual(codec.maxFrameSize, Infinity)
      assert.notStrictEqual(codec.maskKey(), codec.maskKey())
    }).pipe(Effect.provide(Frame.layerCodec())))

  it("rejects all data frames if its limit is NaN", () => {
    const codec = Frame.makeCodec({ maxFrameSize: NaN })
    for (const maxFrameSize of [undefined, 0, 1000, Infinity]) {
      const { error, frames } = codec.decoder({ role: "client", maxFrameSize }).decode(hex("89 00 82 01"))
      assert.deepStrictEqual(frames.map(facts), [facts(Frame.ping())])
      assert.deepStrictEqual(factsOf(error), tooLarge(1, NaN))
    }
  })

  it("passes the role and the reserved bits to its decoders", () => {
    const codec = Frame.makeCodec({ maxFrameSize: 10 })
    const decode = (options: Frame.DecoderOptions, wire: string) => codec.decoder(options).decode(hex(wire))
    assert.strictEqual(decode({ role: "server" }, "81 00").error?._tag, "UnmaskedFrame")
    assert.strictEqual(decode({ role: "client" }, "81 80").error?._tag, "MaskedFrame")
    assert.strictEqual(decode({ role: "client" }, "c1 00").error?._tag, "ReservedBits")
    assert.strictEqual(decode({ role: "client", reservedBits: 4 }, "c1 00").frames[0].reserved, 4)
  })
})
