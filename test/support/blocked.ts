/** A server whose process is busy: connections to it wait in the kernel, and once its queue is full, they wait to get there. */
import { Effect, type Scope } from "effect"
import * as Net from "node:net"
import { Worker } from "node:worker_threads"
import { acceptKey } from "../../src/Handshake.ts"
import { sampleKey } from "./net.ts"

export interface Blocked {
  readonly port: number
  /** The server goes on: it accepts all connections, and answers requests with the sample key. */
  readonly release: Effect.Effect<void>
}

const program = `
  const { parentPort, workerData } = require("node:worker_threads")
  const server = require("node:net").createServer((socket) => {
    socket.on("error", () => {})
    socket.once("data", () => socket.write(workerData.answer))
  })
  server.listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
    parentPort.postMessage(server.address().port)
    Atomics.wait(workerData.gate, 0, 0)
  })
`

export const blocked: Effect.Effect<Blocked, never, Scope.Scope> = Effect.gen(function*() {
  const gate = new Int32Array(new SharedArrayBuffer(4))
  const answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
    `Sec-WebSocket-Accept: ${acceptKey(sampleKey)}\r\n\r\n`
  const open = () => {
    Atomics.store(gate, 0, 1)
    Atomics.notify(gate, 0)
  }
  const worker = yield* Effect.acquireRelease(
    Effect.sync(() => new Worker(program, { eval: true, workerData: { gate, answer } })),
    (running) =>
      Effect.promise(() => {
        open()
        return running.terminate()
      })
  )
  const port = yield* Effect.promise(() => new Promise<number>((resolve) => worker.once("message", resolve)))
  // The queue of Linux holds one more than its length.
  for (let i = 0; i < 2; i++) {
    yield* Effect.acquireRelease(
      Effect.callback<Net.Socket>((resume) => {
        const socket = Net.connect(port, "127.0.0.1", () => resume(Effect.succeed(socket)))
        socket.on("error", () => {})
      }),
      (socket) => Effect.sync(() => socket.destroy())
    )
  }
  return { port, release: Effect.sync(open) }
})
