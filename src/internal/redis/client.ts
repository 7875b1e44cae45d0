/** One client of the package `redis`: options, and the few operations that this library calls. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { createClient, type RedisClientOptions, RESP_TYPES } from "redis"

/** How to reach and to enter a server. */
export type ClientOptions = RedisClientOptions

export interface Address {
  readonly host: string
  readonly port: number
}

export type Reply = unknown
type Listener = (message: Uint8Array, channel: Uint8Array) => void

/** A client with replies in bytes. It does not reconnect: `Link` makes another one. */
export interface Client {
  readonly connect: () => Promise<unknown>
  readonly destroy: () => void
  readonly sendCommand: (args: ReadonlyArray<string | Uint8Array>) => Promise<Reply>
  readonly subscribe: (channels: ReadonlyArray<string>, listener: Listener, bytes: true) => Promise<void>
  readonly unsubscribe: (channels: ReadonlyArray<string>) => Promise<void>
  readonly sSubscribe: (channels: ReadonlyArray<string>, listener: Listener, bytes: true) => Promise<void>
  readonly sUnsubscribe: (channels: ReadonlyArray<string>) => Promise<void>
  readonly on: {
    (event: "error", listener: (error: unknown) => void): unknown
    /** A node of a cluster has ended a subscription, because the slot has moved to another one. */
    (event: "sharded-channel-moved", listener: (channel: string) => void): unknown
  }
}

/** The most commands that wait for a reply. Above it they fail. */
const maxQueuedCommands = 100_000

export const makeClient = (options: ClientOptions, address: Address | undefined): Client =>
  createClient({
    ...options,
    socket: { ...options.socket, ...address, reconnectStrategy: false } as NonNullable<ClientOptions["socket"]>,
    ...address === undefined ? undefined : { url: undefined as never },
    disableOfflineQueue: true,
    commandsQueueMaxLength: maxQueuedCommands,
    maintNotifications: "disabled",
    // Without the client's own timeout, which makes an AbortSignal for each command: `Commands` has one.
    commandOptions: { timeout: 0, typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } }
  }) as unknown as Client

/** Calls the client. Fails with its error as it is: the reply of the server, or why there is no connection. */
export const attempt = <A>(call: () => Promise<A>): Effect.Effect<A, unknown> =>
  Effect.mapError(Effect.tryPromise(call), ({ cause }) => cause)

/** Makes a client, connects it, and closes it with the Scope. `onError` is told why it has ended. */
export const openClient = <E>(
  make: Effect.Effect<Client, E>,
  onError: (cause: unknown) => void
): Effect.Effect<Client, unknown, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.tap(make, (client) => Effect.sync(() => client.on("error", onError))),
    (client) => Effect.sync(() => destroy(client))
  ).pipe(Effect.tap((client) => attempt(() => client.connect())))

const destroy = (client: Client): void => {
  try {
    client.destroy()
  } catch {
    // It is closed already.
  }
}
