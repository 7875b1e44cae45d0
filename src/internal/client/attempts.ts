/** Attempts to connect to a URL, with subprotocols, both of which may be effects. These run for each attempt. */
import * as Effect from "effect/Effect"
import type { ConnectOptions } from "../../MessageClient.ts"
import { evaluate } from "./attemptOptions.ts"

/** Options of `connect` with subprotocols that may be an effect. */
export type AttemptOptions<E, R> = Omit<ConnectOptions, "protocols"> & {
  readonly protocols?: ReadonlyArray<string> | Effect.Effect<ReadonlyArray<string>, E, R> | undefined
}

export const attemptTo = <A, EC, RC, E = never, R = never, E1 = never, R1 = never>(
  connect: (url: string | URL, options: ConnectOptions) => Effect.Effect<A, EC, RC>,
  url: string | URL | Effect.Effect<string | URL, E, R>,
  { protocols, ...options }: AttemptOptions<E1, R1>
): Effect.Effect<A, EC | E | E1, RC | R | R1> =>
  Effect.gen(function*() {
    const target = yield* evaluate(url)
    // Without subprotocols here, those of the client's own options stay.
    const offered = protocols === undefined ? {} : { protocols: yield* evaluate(protocols) }
    return yield* connect(target, { ...options, ...offered })
  })
