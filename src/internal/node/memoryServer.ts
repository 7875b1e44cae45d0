/** A Node server that accepts streams in place of the sockets of a port. */
import type { AddressInfo } from "node:net"
import type { Duplex } from "node:stream"
import { http } from "../runtime/builtins.ts"

/** An address for documentation (RFC 5737): servers in memory have one as well, because programs print it. */
export const memoryAddress = { host: "192.0.2.1", port: 80 } as const

/** Its `listen` binds no port, and does not fail. Everything else is Node's own HTTP server. */
export class MemoryServer extends http().Server {
  override listening = false
  private readonly sockets = new Set<Duplex>()

  constructor() {
    super()
    this.prependListener("connection", (socket: Duplex) => {
      this.sockets.add(socket)
      socket.once("close", () => {
        this.sockets.delete(socket)
        this.closeIfDrained()
      })
    })
  }

  override address(): AddressInfo {
    return { address: memoryAddress.host, family: "IPv4", port: memoryAddress.port }
  }

  override listen(...args: ReadonlyArray<unknown>): this {
    const onListening = args.find((arg) => typeof arg === "function")
    if (onListening !== undefined) this.once("listening", onListening as () => void)
    this.listening = true
    queueMicrotask(() => this.emit("listening"))
    return this
  }

  /** Accepts an established stream. Returns false if the server does not listen, as a closed port does. */
  accept(socket: Duplex): boolean {
    if (this.listening) this.emit("connection", socket)
    return this.listening
  }

  /** Waits for the streams, because Node counts the sockets of a port only. */
  override close(callback?: (error?: Error) => void): this {
    if (!this.listening) return super.close(callback)
    if (callback !== undefined) this.once("close", () => callback())
    this.listening = false
    this.closeIdleConnections()
    this.closeIfDrained()
    return this
  }

  private closeIfDrained(): void {
    if (!this.listening && this.sockets.size === 0) super.close()
  }
}
