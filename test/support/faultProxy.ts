/** A proxy of TCP connections that fails as a test tells it to. */
import { Effect, type Scope } from "effect"
import * as Net from "node:net"

/**
 * What the proxy does with bytes: passes them on; holds them back until it passes
 * again; swallows those of one direction, or of both; or refuses connections.
 */
export type Mode = "pass" | "stall" | "swallowReplies" | "swallow" | "refuse"

interface Pair {
  readonly client: Net.Socket
  readonly server: Net.Socket
}

export class FaultProxy {
  port = 0
  private readonly target: () => number
  private readonly pairs = new Set<Pair>()
  private mode: Mode = "pass"

  constructor(target: () => number) {
    this.target = target
  }

  get connections(): number {
    return this.pairs.size
  }

  set(mode: Mode): void {
    this.mode = mode
    for (const { client, server } of this.pairs) {
      for (const socket of [client, server]) {
        if (mode === "stall") socket.pause()
        else socket.resume()
      }
    }
    if (mode === "refuse") this.cut()
  }

  /** Resets all connections. */
  cut(): void {
    for (const { client, server } of this.pairs) {
      client.resetAndDestroy()
      server.resetAndDestroy()
    }
    this.pairs.clear()
  }

  readonly accept = (client: Net.Socket): void => {
    if (this.mode === "refuse") return void client.resetAndDestroy()
    const server = Net.connect({ port: this.target(), host: "127.0.0.1" })
    const pair = { client, server }
    this.pairs.add(pair)
    this.forward(client, server, () => this.mode === "swallow")
    this.forward(server, client, () => this.mode === "swallow" || this.mode === "swallowReplies")
    if (this.mode === "stall") this.set("stall")
  }

  private forward(from: Net.Socket, to: Net.Socket, swallows: () => boolean): void {
    from.setNoDelay()
    from.on("data", (chunk) => {
      if (!swallows()) to.write(chunk)
    })
    from.on("error", () => {})
    from.on("close", () => {
      to.destroy()
      for (const pair of this.pairs) if (pair.client === from || pair.server === from) this.pairs.delete(pair)
    })
  }
}

/** Starts a proxy in front of a port of this machine. */
export const startFaultProxy = (target: number | (() => number)): Effect.Effect<FaultProxy, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<{ readonly proxy: FaultProxy; readonly server: Net.Server }>((resume) => {
        const proxy = new FaultProxy(typeof target === "number" ? () => target : target)
        const server = Net.createServer(proxy.accept).listen(0, "127.0.0.1", () => {
          proxy.port = (server.address() as Net.AddressInfo).port
          resume(Effect.succeed({ proxy, server }))
        })
      }),
      ({ proxy, server }) =>
        Effect.callback<void>((resume) => {
          server.close(() => resume(Effect.void))
          proxy.set("refuse")
        })
    ),
    ({ proxy }) => proxy
  )
