/**
 * A server under test, a process of its own: `server.js PEER MODE KIND`.
 *
 * Says which port it listens on; then answers each message of its parent with a
 * `ServerSample`.
 */
import type { Mode, Peer, Scenario } from "./scenarios.ts"

export interface ServerSample {
  /** CPU time so far, of all threads, in microseconds. */
  readonly cpu: number
  /** Bytes of memory, after a garbage collection where that can be asked for. */
  readonly rss: number
}

const load: Record<Peer, () => Promise<{ readonly listen: (mode: Mode, broadcast: boolean) => Promise<number> }>> = {
  ours: () => import("./peers/ours.ts"),
  ws: () => import("./peers/ws.ts"),
  effect: () => import("./peers/effect.ts"),
  net: () => import("./peers/net.ts")
}

const sample = (): ServerSample => {
  globalThis.gc?.()
  const { system, user } = process.cpuUsage()
  return { cpu: user + system, rss: process.memoryUsage.rss() }
}

process.on("disconnect", () => process.exit())
process.on("message", () => process.send?.(sample()))
const [peer, mode, kind] = process.argv.slice(2) as [Peer, Mode, Scenario["kind"]]
const { listen } = await load[peer]()
process.send?.(await listen(mode, kind === "broadcast"))
