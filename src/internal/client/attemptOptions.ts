/** The options of clients that are both a way to connect and a reconnecting client. */
import * as Effect from "effect/Effect"
import type { Options } from "../../Reconnecting.ts"

/** The options of a reconnecting client. The type makes the list complete. */
const ownOptions: Readonly<Record<keyof Options, true>> = {
  onOpen: true,
  schedule: true,
  resetAfter: true,
  maxRetryAfter: true,
  isFinal: true,
  fastFailures: true,
  whileDisconnected: true,
  whileHidden: true,
  heartbeat: true
}

/** Separates the options of a reconnecting client from those of its attempts. */
export const separateOptions = <O extends object>(
  options: O
): readonly [own: Pick<O, keyof O & keyof Options>, others: Omit<O, keyof Options>] => {
  const own: Partial<O> = {}
  const others: Partial<O> = {}
  for (const key of Object.keys(options) as Array<keyof O>) {
    const target = Object.hasOwn(ownOptions, key) ? own : others
    target[key] = options[key]
  }
  return [own as Pick<O, keyof O & keyof Options>, others as Omit<O, keyof Options>]
}

/** Returns a value, or runs the effect that gets it. */
export const evaluate = <A, E = never, R = never>(value: A | Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.isEffect(value) ? value as Effect.Effect<A, E, R> : Effect.succeed(value)
