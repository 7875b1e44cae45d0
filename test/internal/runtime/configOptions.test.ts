import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect } from "effect"
import { readConfig } from "../../../src/internal/runtime/configOptions.ts"

interface Options {
  readonly host: string
  readonly tls: { readonly key: string; readonly passphrase: string }
}

const config: Config.Wrap<Options> = {
  host: Config.String("HOST").pipe(Config.withDefault("::")),
  tls: { key: Config.String("KEY"), passphrase: Config.String("PASSPHRASE") }
}

const within = (values: Record<string, string>) =>
  Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(values))

describe("readConfig", () => {
  it.effect("reads each Config of a record and of the records in it, as Config.unwrap does", () =>
    Effect.gen(function*() {
      const options = yield* readConfig(config)
      assert.deepStrictEqual(options, { host: "::", tls: { key: "k", passphrase: "p" } })
      assert.deepStrictEqual(options, yield* Config.unwrap(config))
    }).pipe(within({ KEY: "k", PASSPHRASE: "p" })))

  it.effect("reads one Config of all options", () =>
    Effect.gen(function*() {
      const whole = Config.map(Config.String("HOST"), (host) => ({ host }))
      assert.deepStrictEqual(yield* readConfig<{ readonly host: string }>(whole), { host: "::1" })
    }).pipe(within({ HOST: "::1" })))

  it.effect("fails with the error of Config.unwrap for a missing value", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(readConfig(config))
      assert.strictEqual(error.message, (yield* Effect.flip(Config.unwrap(config))).message)
      assert.include(error.message, "PASSPHRASE")
    }).pipe(within({ KEY: "k" })))
})
