/** Which server has which partition: one server has all of them, or the masters of a cluster share them. */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import { type Address, attempt, type Client, type ClientOptions, makeClient, openClient } from "./client.ts"
import { slotOf, tags } from "./partitions.ts"

/** What the options say about the servers. */
export type Servers =
  | { readonly _tag: "Single" }
  | { readonly _tag: "Sentinel"; readonly name: string; readonly sentinels: ReadonlyArray<Address> }
  | { readonly _tag: "Cluster"; readonly seeds: ReadonlyArray<Address> }

class NoMaster extends Data.Error<{ readonly message: string; readonly cause: unknown }> {}

const request = (client: Client, args: ReadonlyArray<string>) => attempt(() => client.sendCommand(args))

/** Asks one of several servers, the first that answers. */
const askAny = <A>(
  servers: ReadonlyArray<Address>,
  options: ClientOptions,
  timeout: number,
  ask: (client: Client) => Effect.Effect<A, unknown>
): Effect.Effect<A, unknown> =>
  Effect.firstSuccessOf(servers.map((server) =>
    // A failure to connect is the failure of `openClient`.
    openClient(Effect.sync(() => makeClient(options, server)), constVoid).pipe(
      Effect.flatMap(ask),
      Effect.scoped,
      Effect.timeout(timeout)
    )
  ))

/** The master that Sentinel names. */
export const findMaster = (
  name: string,
  sentinels: ReadonlyArray<Address>,
  options: ClientOptions,
  timeout: number
): Effect.Effect<Address, unknown> =>
  askAny(
    sentinels,
    options,
    timeout,
    (client) =>
      Effect.flatMap(request(client, ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name]), (reply) =>
        Array.isArray(reply) && reply.length === 2
          ? Effect.succeed({ host: String(reply[0]), port: Number(reply[1]) })
          : Effect.fail(new NoMaster({ message: `expected a master named ${name}, got none`, cause: reply })))
  )

/** The master of each partition of a cluster, as one of its nodes tells. */
export const findMasters = (
  seeds: ReadonlyArray<Address>,
  options: ClientOptions,
  timeout: number
): Effect.Effect<ReadonlyMap<string, Address>, unknown> =>
  askAny(seeds, options, timeout, (client) =>
    Effect.map(request(client, ["CLUSTER", "SLOTS"]), (reply) => {
      const ranges = (reply as ReadonlyArray<readonly [number, number, readonly [unknown, number, unknown]]>).map(
        ([from, to, [host, port]]) => ({ from, to, address: { host: String(host), port } })
      )
      const masters = new Map<string, Address>()
      for (const tag of tags) {
        const slot = slotOf(tag)
        const range = ranges.find(({ from, to }) => from <= slot && slot <= to)
        if (range !== undefined) masters.set(tag, range.address)
      }
      return masters
    }))
