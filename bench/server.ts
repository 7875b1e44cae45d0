/**
 * A server under test, a process of its own: `server.js PEER MODE SERVICE [DEFLATE]`.
 *
 * Says which port it listens on; then answers each message of its parent with a
 * `ServerSample`, or, where it asks for a profile, begins one and then gives it.
 */
import { Session } from "node:inspector/promises"
import { type Mode, type Peer, services, type Serving } from "./scenarios.ts"
import type { Deflate } from "./wire.ts"

export interface ServerSample {
  /** CPU time so far, of all threads, in microseconds. */
  readonly cpu: number
  /** Bytes of memory, after a garbage collection where that can be asked for. */
  readonly rss: number
}

const load: Record<Peer, () => Promise<{ readonly listen: (serving: Serving) => Promise<number> }>> = {
  ours: () => import("./peers/ours.ts"),
  ws: () => import("./peers/ws.ts"),
  effect: () => import("./peers/effect.ts"),
  net: () => import("./peers/net.ts"),
  "socket.io": () => import("./peers/socketIo.ts"),
  bun: () => import("./peers/bun.ts")
}

const sample = (): ServerSample => {
  globalThis.gc?.()
  const { system, user } = process.cpuUsage()
  return { cpu: user + system, rss: process.memoryUsage.rss() }
}

let session: Session | undefined

const profile = async (): Promise<unknown> => {
  if (session !== undefined) return (await session.post("Profiler.stop")).profile
  session = new Session()
  session.connect()
  await session.post("Profiler.enable")
  await session.post("Profiler.setSamplingInterval", { interval: 200 })
  await session.post("Profiler.start")
  return "started"
}

process.on("disconnect", () => process.exit())
process.on("message", async (what) => process.send?.(what === "profile" ? await profile() : sample()))
const [peer, mode, service, deflate = ""] = process.argv.slice(2) as [Peer, Mode, string, (Deflate | "")?]
const { listen } = await load[peer]()
process.send?.(
  await listen({
    mode,
    service: services.find((one) => one === service) ?? "echo",
    deflate: deflate === "" ? undefined : deflate
  })
)
