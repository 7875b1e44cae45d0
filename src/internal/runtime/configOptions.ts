/**
 * Options from the configuration. Like `Config.unwrap`, without `effect/Config`: that
 * module loads `effect/Schema`, and a program that passes no `Config` needs neither.
 */
import type * as Config from "effect/Config"
import * as Effect from "effect/Effect"

/** Reads each `Config` of a record, and of records in it, in their order. Fails with the first error. */
export const readConfig = <A>(config: Config.Wrap<A>): Effect.Effect<A, Config.ConfigError> =>
  read(config as Nested) as Effect.Effect<A, Config.ConfigError>

type Nested = Config.Config<unknown> | { readonly [option: string]: Nested }

const read = (config: Nested): Effect.Effect<unknown, Config.ConfigError> =>
  Effect.isEffect(config)
    ? config
    : Effect.all(Object.fromEntries(Object.entries(config).map(([option, value]) => [option, read(value)])))
