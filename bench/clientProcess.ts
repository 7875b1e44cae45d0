/**
 * Clients, in a process of their own: `clientProcess.js SYSTEM PORT`. It reports that it has started. Asked to "churn", it
 * connects and closes; asked for a number, it opens that many connections. It replies with what that took. A process is
 * asked once: closed connections leave room in the heap, in which open ones would seem to take no memory.
 */
import { Effect, Scope } from "effect"
import { WebSocketClient } from "effect-ws"
import { setTimeout as sleep } from "node:timers/promises"
import { WebSocket as Undici } from "undici"
import { WebSocket as Ws } from "ws"

export type ClientSystem = "ours" | "ws" | "undici"

export interface ChurnSample {
  /** Microseconds of CPU for each connection, opened and closed. */
  readonly cpu: number
  /** How many a second. */
  readonly rate: number
}

/** Bytes for each connection. */
export interface IdleSample {
  /** Of objects, and of buffers beside them. */
  readonly heap: number
  readonly rss: number
}

const lanes = 16
const batch = 50
const churned = 4000
/** Connections until the code is compiled. */
const warmUp = 3000
/** Connections before the measurement of memory, so that compiled code does not count. */
const warmConnections = 2000

const [system, port] = process.argv.slice(2)
const url = `ws://127.0.0.1:${port}`

interface ClientOf {
  /** Connects, and closes the connection. */
  readonly visit: () => Promise<unknown>
  /** Connects, and keeps the connection. */
  readonly stay: () => Promise<unknown>
}

type Connected = Effect.Effect<unknown, unknown, Scope.Scope>

const ours = (connect: Connected): ClientOf => ({
  visit: () => Effect.runPromise(Effect.scoped(connect)),
  // The Scope retains the connection. A fiber that waits for nothing would be collected, with all that it has.
  stay: async () => {
    const scope = Scope.makeUnsafe()
    await Effect.runPromise(Scope.provide(connect, scope))
    return scope
  }
})

/** What the WebSockets of ws and undici have in common. */
interface EventSocket {
  readonly addEventListener: (
    name: "close" | "error" | "open",
    listener: () => void,
    options?: { readonly once: boolean }
  ) => void
  readonly close: () => void
}

const closed = (socket: EventSocket): Promise<void> =>
  new Promise((resolve) => {
    socket.addEventListener("close", resolve)
    socket.close()
  })

const events = (open: () => EventSocket): ClientOf => {
  const opened = () =>
    new Promise<EventSocket>((resolve, reject) => {
      const socket = open()
      socket.addEventListener("open", () => resolve(socket), { once: true })
      socket.addEventListener("error", () => reject(new Error("not connected")))
    })
  return { visit: () => opened().then(closed), stay: opened }
}

const clients: Record<ClientSystem, () => ClientOf> = {
  ours: () => ours(WebSocketClient.connect(url)),
  ws: () => events(() => new Ws(url, { perMessageDeflate: false })),
  undici: () => events(() => new Undici(url))
}

const client = clients[system as ClientSystem]()
const kept: Array<unknown> = []

const churn = async (connections: number): Promise<ChurnSample> => {
  const start = performance.now()
  const before = process.cpuUsage()
  let left = connections
  const lane = async () => {
    while (left-- > 0) await client.visit()
  }
  await Promise.all(Array.from({ length: lanes }, lane))
  const used = process.cpuUsage(before)
  return {
    cpu: (used.user + used.system) / connections,
    rate: connections * 1000 / (performance.now() - start)
  }
}

const stay = async (connections: number): Promise<void> => {
  for (let opened = 0; opened < connections; opened += batch) {
    kept.push(...await Promise.all(Array.from({ length: Math.min(batch, connections - opened) }, client.stay)))
  }
}

const memory = async (): Promise<NodeJS.MemoryUsage> => {
  for (let i = 0; i < 6; i++) {
    globalThis.gc?.()
    await sleep(50)
  }
  return process.memoryUsage()
}

const idle = async (connections: number): Promise<IdleSample> => {
  await stay(warmConnections)
  const before = await memory()
  await stay(connections)
  const after = await memory()
  const heap = after.heapUsed + after.external - before.heapUsed - before.external
  return { heap: heap / connections, rss: (after.rss - before.rss) / connections }
}

process.on("message", async (order: string) => {
  if (order === "churn") await churn(warmUp)
  process.send!(order === "churn" ? await churn(churned) : await idle(Number(order)))
})

process.send!("ready")
