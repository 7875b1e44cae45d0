/** Modules and classes that a program loads when it first needs them. */
import * as Effect from "effect/Effect"

/** Returns an effect that runs `load` at most once, and succeeds without a delay once it has resolved. Dies if it rejects. */
export const loadOnce = <A>(load: () => Promise<A>): Effect.Effect<A> => {
  let loading: Promise<Effect.Effect<A>> | undefined
  let loaded: Effect.Effect<A> | undefined
  return Effect.suspend(() => {
    if (loaded !== undefined) return loaded
    loading ??= load().then((value) => loaded = Effect.succeed(value))
    return Effect.flatten(Effect.promise(() => loading!))
  })
}

/** Returns a function that runs `make` once, on its first call. */
export const once = <A>(make: () => A): () => A => {
  let made: { readonly value: A } | undefined
  return () => (made ??= { value: make() }).value
}
