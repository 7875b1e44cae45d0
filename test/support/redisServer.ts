/** Real Redis servers of Debian's package, on free ports, with their data in a directory of their own. */
import { Effect, Exit, Scope } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createClient } from "redis"
import { listening } from "./port.ts"
import { type Program, runProgram } from "./process.ts"

export interface RedisServer {
  readonly port: number
  /** Runs a command, and returns its reply. */
  readonly command: (...args: ReadonlyArray<string>) => Effect.Effect<unknown>
  readonly signal: (signal: NodeJS.Signals) => Effect.Effect<void>
  /** Ends it without a word, and starts it on the same port, with what it has on the disk. */
  readonly restart: Effect.Effect<void>
  /** Ends it without a word. */
  readonly stop: Effect.Effect<void>
}

/** A directory that is removed with the Scope. */
export const makeDirectory: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-ws-redis-"))),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true, force: true }))
)

/** Connections get their own port from 32,768 on. */
const ports = { first: 20_000, last: 22_700 }

/** Servers of a cluster listen also on a port above their own. */
const clusterPort = 10_000

/**
 * Ports that no server of this process has had, and no connection gets as its own: a server
 * that starts again finds its port free.
 */
export const unusedPort: Effect.Effect<number> = Effect.suspend(() => {
  const port = lastPort = lastPort >= ports.last ? ports.first : lastPort + 1
  const both = Effect.all([isFree(port), isFree(port + clusterPort)])
  return Effect.flatMap(both, ([free, alsoFree]) => free && alsoFree ? Effect.succeed(port) : unusedPort)
})

/** Workers that run at once have ranges of their own. */
const range = Number(process.env["VITEST_POOL_ID"] ?? 0) % 3 * 9 + process.pid % 9

let lastPort = ports.first + range * 100

const isFree = (port: number): Effect.Effect<boolean> =>
  Effect.callback((resume) => {
    const server = Net.createServer()
    server.on("error", () => resume(Effect.succeed(false)))
    server.listen(port, "127.0.0.1", () => server.close(() => resume(Effect.succeed(true))))
  })

/** Starts a server on a free port. Without further options, it keeps nothing on the disk. */
export const startRedis = (...options: ReadonlyArray<string>): Effect.Effect<RedisServer, never, Scope.Scope> =>
  startRedisAt(unusedPort, ...options)

/** Starts a server on a port. */
export const startRedisAt = (
  choosePort: Effect.Effect<number>,
  ...options: ReadonlyArray<string>
): Effect.Effect<RedisServer, never, Scope.Scope> =>
  Effect.gen(function*() {
    const directory = yield* makeDirectory
    const scope = yield* Effect.scope
    const args = (
      port: number
    ) => ["--port", String(port), "--dir", directory, "--save", "", "--enable-debug-command", "yes", ...options]
    const start = (port: number) => runProgram("redis-server", args(port))
    let processScope = yield* Scope.fork(scope)
    let server: Program & { readonly port: number } = yield* Scope.provide(
      listening(start, 5, choosePort),
      processScope
    )
    const { port } = server
    const stop = Effect.suspend(() => Scope.close(processScope, Exit.void))
    return {
      port,
      command: (...command) => runCommand(port, command),
      signal: (signal) => Effect.sync(() => void server.child.kill(signal)),
      stop,
      restart: Effect.gen(function*() {
        yield* stop
        processScope = yield* Scope.fork(scope)
        server = yield* Scope.provide(listening(() => start(port), 1, Effect.succeed(port)), processScope)
      })
    }
  })

/** Runs one command on a connection of its own. */
export const runCommand = (port: number, command: ReadonlyArray<string>): Effect.Effect<unknown> =>
  Effect.promise(async () => {
    const client = createClient({ socket: { port, host: "127.0.0.1", reconnectStrategy: false } })
    client.on("error", () => {})
    await client.connect()
    try {
      return await client.sendCommand([...command])
    } finally {
      client.destroy()
    }
  })
