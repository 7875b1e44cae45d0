/** A proxy that does to a conversation what networks do. */
import { Effect, type Scope } from "effect"
import * as Net from "node:net"
import { rawServer } from "./net.ts"

export interface Fault {
  /** Which way the bytes go. */
  readonly towards: "server" | "client"
  /** How many of them pass, before it happens. */
  readonly after: number
  /** Nothing more that way and an end; a reset both ways; or nothing at all any more, either way. */
  readonly how: "end" | "reset" | "silence"
}

export interface Proxy {
  readonly port: number
  /** How many bytes have passed, in either direction, on the last connection. */
  readonly passed: { server: number; client: number }
}

/**
 * In front of a port of this machine. With `tear`, each byte travels alone; with
 * `delay`, data that arrives together is delayed by this number of milliseconds; with `double`, each
 * connection attempt reaches the server twice, as from a proxy that tries again,
 * and with it all that the client says; the client hears the first.
 */
export const proxy = (
  target: number,
  options: {
    readonly fault?: Fault
    readonly tear?: boolean
    readonly delay?: number
    readonly double?: boolean
  }
): Effect.Effect<Proxy, never, Scope.Scope> =>
  Effect.gen(function*() {
    const passed = { server: 0, client: 0 }
    const { delay, double, fault, tear } = options
    const onward: Array<Net.Socket> = []
    yield* Effect.addFinalizer(() => Effect.sync(() => onward.forEach((socket) => socket.destroy())))
    const { port } = yield* rawServer(({ socket }) => {
      const server = Net.connect({ port: target, host: "127.0.0.1", allowHalfOpen: true, noDelay: true })
      socket.setNoDelay(true)
      onward.push(server)
      if (double === true) {
        const again = Net.connect({ port: target, host: "127.0.0.1", allowHalfOpen: true, noDelay: true })
        onward.push(again)
        again.on("error", () => {})
        again.resume()
        socket.on("data", (chunk) => again.write(chunk))
        socket.on("end", () => again.end())
        socket.on("close", () => again.destroySoon())
      }
      let silent = false
      const strike = (to: Net.Socket) => {
        if (fault!.how === "silence") silent = true
        else if (fault!.how === "end") to.end()
        else {
          socket.resetAndDestroy()
          server.resetAndDestroy()
        }
      }
      const join = (from: Net.Socket, to: Net.Socket, towards: "server" | "client") => {
        const ours = fault?.towards === towards ? fault : undefined
        let struck = false
        const forward = (bytes: Uint8Array) => {
          if (struck || silent || bytes.length === 0) return
          passed[towards] += bytes.length
          if (to.writable) to.write(bytes)
        }
        const happen = () => {
          if (struck || ours === undefined || passed[towards] < ours.after) return
          struck = true
          strike(to)
        }
        if (ours?.after === 0) happen()
        const queue: Array<number> = []
        let delayed = 0
        const drip = () => {
          const byte = queue.shift()
          if (byte === undefined) return
          forward(Uint8Array.of(byte))
          setImmediate(drip)
        }
        from.on("data", (chunk) => {
          if (tear === true) {
            if (queue.push(...chunk) === chunk.length) setImmediate(drip)
            return
          }
          if (delay !== undefined) {
            delayed++
            return void setTimeout(() => {
              delayed--
              forward(chunk)
            }, delay)
          }
          forward(ours === undefined ? chunk : chunk.subarray(0, Math.max(0, ours.after - passed[towards])))
          happen()
        })
        from.on("error", () => to.destroy())
        from.on("close", () => silent || delayed > 0 || to.destroy())
        from.on("end", () => {
          if (silent) return
          const end = () => queue.length + delayed > 0 ? setImmediate(end) : to.end()
          end()
        })
      }
      join(socket, server, "server")
      join(server, socket, "client")
    })
    return { port, passed }
  })
