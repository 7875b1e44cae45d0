/** Several Redis servers that belong together: a master with a replica under Sentinel, and a cluster of three masters. */
import { assert } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { type FaultProxy, startFaultProxy } from "./faultProxy.ts"
import { listening } from "./port.ts"
import { runProgram } from "./process.ts"
import { eventually } from "./redisBrokers.ts"
import { makeDirectory, type RedisServer, runCommand, startRedis } from "./redisServer.ts"

export interface Replicated {
  readonly master: RedisServer
  readonly replica: RedisServer
  /** What is between the replica and the master. */
  readonly replication: FaultProxy
  /** Addresses for the option `sentinel`. */
  readonly sentinels: ReadonlyArray<string>
  readonly name: string
}

/** A master, its replica, and one Sentinel that promotes the replica three seconds after the master is gone: a busy machine stops a server for less. */
export const startReplicated: Effect.Effect<Replicated, never, Scope.Scope> = Effect.gen(function*() {
  const name = "main"
  const master = yield* startRedis()
  const replication = yield* startFaultProxy(master.port)
  const replica = yield* startRedis("--replicaof", "127.0.0.1", String(replication.port))
  yield* eventually(
    replica.command("INFO", "replication"),
    (info) => String(info).includes("master_link_status:up")
  )
  const directory = yield* makeDirectory
  const { port } = yield* listening((sentinelPort) => {
    const file = join(directory, `sentinel${sentinelPort}.conf`)
    writeFileSync(
      file,
      [
        `port ${sentinelPort}`,
        `dir ${directory}`,
        `sentinel monitor ${name} 127.0.0.1 ${master.port} 1`,
        `sentinel down-after-milliseconds ${name} 3000`,
        `sentinel failover-timeout ${name} 2000`,
        ""
      ].join("\n")
    )
    return runProgram("redis-sentinel", [file])
  })
  yield* eventually(
    runCommand(port, ["SENTINEL", "REPLICAS", name]),
    (replicas) => Array.isArray(replicas) && replicas.length === 1
  )
  return { master, replica, replication, sentinels: [`127.0.0.1:${port}`], name }
})

/** Three masters that share the slots, without replicas. */
export const startCluster: Effect.Effect<ReadonlyArray<RedisServer>, never, Scope.Scope> = Effect.gen(function*() {
  const servers = yield* Effect.forEach([0, 1, 2], (i) =>
    startRedis(
      "--cluster-enabled",
      "yes",
      "--cluster-config-file",
      `nodes${i}.conf`,
      "--cluster-node-timeout",
      "30000"
    ))
  const program = yield* runProgram("redis-cli", [
    "--cluster",
    "create",
    ...servers.map(({ port }) => `127.0.0.1:${port}`),
    "--cluster-yes"
  ])
  assert.strictEqual(yield* program.ended, 0, program.output())
  for (const server of servers) {
    yield* eventually(server.command("CLUSTER", "INFO"), (info) => String(info).includes("cluster_state:ok"))
  }
  return servers
})

/** The id of a server in its cluster. */
export const nodeIdOf = (server: RedisServer): Effect.Effect<string> =>
  Effect.map(server.command("CLUSTER", "MYID"), String)
