/** The servers that a broker is connected to, and which of them has a partition. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import { type Address, type ClientOptions, makeClient } from "./client.ts"
import { tags } from "./partitions.ts"
import { RedisNode, type RedisNodeHost, type RedisNodeOptions } from "./redisNode.ts"
import { findMaster, findMasters, type Servers } from "./topology.ts"

export interface Nodes {
  readonly nodeOf: (tag: string) => RedisNode | undefined
  /** The server at `host:port`. */
  readonly at: (address: string) => RedisNode | undefined
  /** A server said that it does not have a partition: asks again which has it. */
  readonly refresh: () => void
}

export type NodesOptions = Omit<RedisNodeOptions, "dial" | "isSharded"> & {
  readonly client: ClientOptions
  readonly servers: Servers
}

/** Makes the host of a node. `hasPartition` tells whether the node has the partition of a tag. */
export type MakeHost = (hasPartition: (tag: string) => boolean) => RedisNodeHost

export const makeNodes = (
  options: NodesOptions,
  makeHost: MakeHost,
  onAssigned: () => void
): Effect.Effect<Nodes, never, Scope.Scope> =>
  options.servers._tag === "Cluster"
    ? makeCluster(options, options.servers.seeds, makeHost, onAssigned)
    : makeSingle(options, options.servers, makeHost)

const makeSingle = (options: NodesOptions, servers: Exclude<Servers, { _tag: "Cluster" }>, makeHost: MakeHost) =>
  Effect.gen(function*() {
    const { client, connectTimeout } = options
    const dial = servers._tag === "Single"
      ? Effect.sync(() => makeClient(client, undefined))
      : Effect.map(
        findMaster(servers.name, servers.sentinels, sentinelOptions(client), connectTimeout),
        (address) => makeClient(client, address)
      )
    const node = new RedisNode({ ...options, dial, isSharded: false }, makeHost(() => true))
    yield* Effect.forkScoped(node.run)
    return { nodeOf: () => node, at: () => node, refresh: () => {} }
  })

/** Sentinels have no databases, and credentials of their own. */
const sentinelOptions = ({ socket }: ClientOptions): ClientOptions => socket === undefined ? {} : { socket }

/** In milliseconds: how often a cluster is asked for its masters without a reason. */
const refreshInterval = 30_000
/** In milliseconds: how often it is asked while a partition has no server that is up, or that refuses its channels. */
const retryInterval = 150

const makeCluster = (
  options: NodesOptions,
  seeds: ReadonlyArray<Address>,
  makeHost: MakeHost,
  onAssigned: () => void
): Effect.Effect<Nodes, never, Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Effect.scope
    const nodes = new Map<string, { readonly node: RedisNode; readonly fiber: Fiber.Fiber<never> }>()
    let masters: ReadonlyMap<string, Address> = new Map()
    const latch = Latch.makeUnsafe(true)
    const nodeOf = (tag: string) => {
      const address = masters.get(tag)
      return address && nodes.get(nameOf(address))?.node
    }
    const add = (address: Address) => {
      const hasPartition = (tag: string) => nameOf(masters.get(tag)) === nameOf(address)
      const dial = Effect.sync(() => makeClient(options.client, address))
      const node = new RedisNode({ ...options, dial, isSharded: true }, makeHost(hasPartition))
      return Effect.map(Effect.forkIn(node.run, scope), (fiber) => nodes.set(nameOf(address), { node, fiber }))
    }
    const assign = Effect.gen(function*() {
      const known = [...new Map([...masters.values(), ...seeds].map((address) => [nameOf(address), address])).values()]
      masters = yield* findMasters(known, options.client, options.connectTimeout)
      const current = new Map([...masters.values()].map((address) => [nameOf(address), address]))
      for (const [name, address] of current) if (!nodes.has(name)) yield* add(address)
      for (const [name, { fiber }] of nodes) {
        if (current.has(name)) continue
        nodes.delete(name)
        yield* Fiber.interrupt(fiber)
      }
      onAssigned()
    })
    const isComplete = () =>
      tags.every((tag) => nodeOf(tag)?.isUp === true) &&
      [...nodes.values()].every(({ node }) => !node.subscriber.hasRefused)
    const wait = Effect.suspend(() =>
      isComplete() ? Effect.raceFirst(latch.await, Effect.sleep(refreshInterval)) : Effect.sleep(retryInterval)
    )
    yield* Effect.forkScoped(Effect.forever(Effect.gen(function*() {
      latch.closeUnsafe()
      yield* Effect.ignore(assign)
      yield* wait
    })))
    return {
      nodeOf,
      at: (address) => nodes.get(address)?.node,
      refresh: () => latch.openUnsafe()
    }
  })

const nameOf = (address: Address | undefined): string => address === undefined ? "" : `${address.host}:${address.port}`
