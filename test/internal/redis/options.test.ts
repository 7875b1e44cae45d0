import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Duration, Effect, Layer, Redacted } from "effect"
import * as RedisBroker from "effect-ws/RedisBroker"
import { addressOf, checkRedis } from "../../../src/internal/redis/options.ts"

describe("RedisBroker's options", () => {
  it("accepts what is documented", () => {
    const valid: ReadonlyArray<RedisBroker.Options> = [
      {},
      { url: "redis://127.0.0.1:6379" },
      { url: Redacted.make("rediss://ann:secret@example.com/3") },
      { url: "unix:///run/redis.sock" },
      { cluster: ["127.0.0.1:7000", "[::1]:7001", "redis.example.com:7002"] },
      { sentinel: { name: "main", nodes: ["127.0.0.1:26379"] } },
      { lease: "1 second", commandTimeout: Infinity, checkInterval: Infinity, positionTtl: Duration.days(1) }
    ]
    for (const options of valid) assert.isUndefined(checkRedis(options))
  })

  it("rejects what leads to no server, or to no time", () => {
    const invalid: ReadonlyArray<readonly [string, RedisBroker.Options]> = [
      ["url", { url: "127.0.0.1:6379" }],
      ["url", { url: "http://127.0.0.1" }],
      ["url", { url: 6379 as never }],
      ["cluster", { cluster: [] }],
      ["cluster", { cluster: "127.0.0.1:7000" as never }],
      ["cluster", { cluster: ["127.0.0.1"] }],
      ["cluster", { cluster: ["127.0.0.1:70000"] }],
      ["sentinel.nodes", { sentinel: { name: "main", nodes: ["::1:26379"] } }],
      ["sentinel", { sentinel: { name: "main", nodes: ["a:1"] }, cluster: ["a:1"] }],
      ["lease", { lease: 999 }],
      ["lease", { lease: NaN }],
      ["commandTimeout", { commandTimeout: 0 }],
      ["connectTimeout", { connectTimeout: 0 }],
      ["beaconInterval", { beaconInterval: 0 }],
      ["checkInterval", { checkInterval: 0 }],
      ["lease", { lease: Infinity }],
      ["positionTtl", { positionTtl: 0 }],
      ["positionTtl", { positionTtl: Infinity }]
    ]
    for (const [option, options] of invalid) assert.strictEqual(checkRedis(options)?.option, option)
  })

  it("does not show the password of an invalid URL", () => {
    const error = checkRedis({ url: "http://ann:secret@example.com" })
    assert.notInclude(error?.message, "secret")
  })

  it("reads addresses", () => {
    assert.deepStrictEqual(addressOf("[::1]:7001"), { host: "::1", port: 7001 })
    assert.deepStrictEqual(addressOf("redis.example.com:7002"), { host: "redis.example.com", port: 7002 })
  })

  it.effect("fails a layer with the option that is invalid, and with configuration that is missing", () =>
    Effect.gen(function*() {
      const invalid = yield* Effect.flip(Effect.scoped(Layer.build(RedisBroker.layer({ lease: 1 }))))
      assert.strictEqual(invalid._tag, "InvalidOption")
      const layer = RedisBroker.layerConfig({ url: Config.Redacted("REDIS_URL") })
      const build = (env: Record<string, string>) =>
        Effect.scoped(Layer.build(layer)).pipe(
          Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(env))
        )
      assert.strictEqual((yield* Effect.flip(build({})))._tag, "ConfigError")
      yield* build({ REDIS_URL: "redis://127.0.0.1:1" })
    }))
})
