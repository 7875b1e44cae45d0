/**
 * Prints how much memory 5,000 connections take that have exchanged one compressed message each and then said nothing
 * for a minute: a server of this library beside one of ws, each in a process of its own.
 *
 *   npm run bench -- deflate-memory
 */
import { Effect, Stream } from "effect"
import { Connection, PerMessageDeflate, WebSocketServer } from "effect-ws"
import { type ChildProcess, fork } from "node:child_process"
import * as Net from "node:net"
import { setImmediate as turn, setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import * as Zlib from "node:zlib"
import { WebSocketServer as WsServer } from "ws"
import { json } from "./json.ts"

const connections = 5000
const idleSeconds = 60
const host = "127.0.0.1"

const servers: Record<string, () => Promise<number>> = {
  "effect-ws": () =>
    new Promise((resolve) => {
      const echo = Effect.flatMap(
        Connection.Connection,
        (connection) => Stream.runForEach(connection.messages, connection.send)
      )
      const program = Effect.gen(function*() {
        const server = yield* WebSocketServer.make({ host, port: 0, backlog: 4096 })
        yield* server.serve(echo, { extensions: [PerMessageDeflate.make()], keepalive: false })
        resolve(server.address._tag === "Tcp" ? server.address.port : 0)
        return yield* Effect.never
      })
      Effect.runFork(Effect.scoped(program))
    }),
  ws: () =>
    new Promise((resolve) => {
      // Its threshold would leave messages of a kilobyte out.
      const perMessageDeflate = { threshold: 128 }
      const server: WsServer = new WsServer({ host, port: 0, backlog: 4096, perMessageDeflate }, () => {
        resolve((server.address() as Net.AddressInfo).port)
      })
      server.on("connection", (socket) => {
        socket.on("message", (data, binary) => socket.send(data, { binary }))
      })
    })
}

/** In KiB, after all that can be collected was. */
const memory = async (): Promise<number> => {
  const { gc } = globalThis as { readonly gc?: () => void }
  for (let i = 0; i < 5; i++) {
    gc?.()
    await turn()
  }
  return process.memoryUsage.rss() / 1024
}

/** In a process of its own: a server that tells how much memory it has, when it is asked. */
const serve = async (name: string): Promise<void> => {
  process.send?.(await servers[name]())
  process.on("message", async () => process.send?.(await memory()))
}

const answerOf = (child: ChildProcess): Promise<number> =>
  new Promise((resolve, reject) => {
    child.once("message", (value) => resolve(Number(value)))
    child.once("exit", () => reject(new Error("the server has ended")))
  })

const ask = (child: ChildProcess): Promise<number> => {
  child.send("memory")
  return answerOf(child)
}

const message = ((): Buffer => {
  const finishFlush = Zlib.constants.Z_SYNC_FLUSH
  const payload = Zlib.deflateRawSync(json(1, 1024), { finishFlush }).subarray(0, -4)
  const header = payload.length < 126 ? [0xc1, 0x80 | payload.length] : [
    0xc1,
    0x80 | 126,
    payload.length >> 8,
    payload.length & 255
  ]
  return Buffer.concat([Buffer.from([...header, 0, 0, 0, 0]), payload])
})()

const request = [
  "GET / HTTP/1.1",
  `Host: ${host}`,
  "Upgrade: websocket",
  "Connection: Upgrade",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Extensions: permessage-deflate",
  "",
  ""
].join("\r\n")

/** Connects, sends a compressed message, and waits for the echo, which has RSV1 set. */
const exchange = (port: number): Promise<Net.Socket> =>
  new Promise((resolve, reject) => {
    const socket = Net.connect(port, host)
    let heard = Buffer.alloc(0)
    let accepted = false
    socket.on("error", reject)
    socket.on("data", (chunk) => {
      heard = Buffer.concat([heard, chunk])
      const end = heard.indexOf("\r\n\r\n")
      if (!accepted && end >= 0) {
        accepted = true
        heard = heard.subarray(end + 4)
        socket.write(message)
      }
      if (!accepted || heard.length < 2) return
      if (heard[0] === 0xc1) resolve(socket)
      else reject(new Error("the echo is not compressed"))
    })
    socket.write(request)
  })

const measure = async (name: string): Promise<void> => {
  const child = fork(fileURLToPath(import.meta.url), [name], { execArgv: ["--expose-gc"] })
  const port = await answerOf(child)
  const warm = await exchange(port)
  const before = await ask(child)
  const sockets: Array<Net.Socket> = []
  while (sockets.length < connections) {
    sockets.push(...await Promise.all(Array.from({ length: 100 }, () => exchange(port))))
  }
  const each = (now: number) => `${((now - before) / connections).toFixed(1)} KiB`
  const active = await ask(child)
  await sleep(idleSeconds * 1000)
  const idle = await ask(child)
  console.log(`${name.padEnd(10)} ${each(active)} a connection, after ${idleSeconds} idle seconds ${each(idle)}`)
  for (const socket of [warm, ...sockets]) socket.destroy()
  child.kill()
}

/** All servers, one after the other. */
export const idleMemory = async (): Promise<void> => {
  for (const name of Object.keys(servers)) await measure(name)
}

if (process.argv[2] in servers && process.send !== undefined) await serve(process.argv[2])
