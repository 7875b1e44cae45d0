/** What a connection for commands begins with. It is no use before the server has read its data, and runs scripts. */
import * as Effect from "effect/Effect"
import { ErrorReply } from "redis"
import { attempt, type Client } from "./client.ts"
import * as scripts from "./scripts.ts"

/** What a server replies that is not ready: it reads its data, waits for its master, or runs a script for long. */
const notReady = /^(?:LOADING|MASTERDOWN|BUSY) /

/**
 * Loads all scripts in one round trip, so that no operation is sent twice. Fails if the
 * server is not ready. If it has no right to load them, operations bring the source.
 */
export const loadScripts = (client: Client): Effect.Effect<void, unknown> =>
  Effect.forEach(Object.values(scripts), ({ source }) => load(client, source), {
    concurrency: "unbounded",
    discard: true
  })

const load = (client: Client, source: string): Effect.Effect<unknown, unknown> =>
  Effect.catch(
    attempt(() => client.sendCommand(["SCRIPT", "LOAD", source])),
    (cause) => cause instanceof ErrorReply && !notReady.test(cause.message) ? Effect.void : Effect.fail(cause)
  )
