/** Many connections at once: all open, all are answered, and all go, in one of the ways in which clients go. */
import { Frame } from "effect-ws"
import * as Net from "node:net"
import type { Tally } from "./wellBehavedClients.ts"

const masked = (frame: Frame.Frame) => Frame.encode(frame, 7)
const greeting = Buffer.concat([
  Buffer.from(
    "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
  ),
  masked(Frame.text("hello"))
])
const headEnd = "\r\n\r\n"

const ways: ReadonlyArray<(socket: Net.Socket) => void> = [
  (socket) => void socket.write(masked(Frame.close(1000))),
  (socket) => void socket.end(),
  (socket) => void socket.resetAndDestroy()
]

interface Visitor {
  /** Its greeting has been answered, or it is gone. */
  readonly answered: Promise<void>
  /** Goes, and waits until it is gone. */
  readonly leave: () => Promise<void>
}

const visit = (port: number, turn: number, tally: Tally): Visitor => {
  // From many addresses, because one has not that many ports.
  const socket = Net.connect({ port, host: "127.0.0.1", localAddress: `127.0.${1 + turn % 50}.${1 + turn % 7}` })
  const decoder = Frame.makeDecoder({ role: "client", maxFrameSize: 1000 })
  let head: string | undefined = ""
  let leaving = false
  const hear = (bytes: Uint8Array, answered: () => void): void => {
    for (const { opcode, payload } of decoder.decode(bytes).frames) {
      if (opcode === Frame.Opcode.Ping && !leaving) socket.write(masked(Frame.pong(payload)))
      if (opcode !== Frame.Opcode.Text) continue
      if (Buffer.from(payload).toString() !== "hello") tally.violations.push("a client received another client's reply")
      answered()
    }
  }
  const gone = new Promise<void>((resolve) => socket.once("close", resolve))
  const answered = new Promise<void>((resolve) => {
    const patience = setTimeout(() => {
      tally.violations.push("a visitor was not answered")
      socket.destroy()
    }, tally.patience)
    const done = () => {
      clearTimeout(patience)
      resolve()
    }
    socket.on("data", (chunk) => {
      if (head === undefined) return hear(chunk, done)
      head += chunk.toString("latin1")
      const end = head.indexOf(headEnd)
      if (end < 0) return
      const rest = Buffer.from(head.slice(end + headEnd.length), "latin1")
      head = undefined
      hear(rest, done)
    })
    void gone.then(done)
  })
  socket.on("error", (error) => tally.violations.push(`a visitor failed: ${error.message}`))
  socket.on("end", () => {
    if (!leaving) tally.violations.push("a visitor was cut")
  })
  socket.write(greeting)
  return {
    answered,
    leave: () => {
      leaving = true
      if (!socket.destroyed) ways[turn % ways.length](socket)
      return gone
    }
  }
}

/** So many at a time as fit into the system's queue of those that wait to be accepted. */
const atOnce = 200

/** Opens so many, lets `whenOpen` look, and ends them. */
export const wave = async (
  port: number,
  size: number,
  tally: Tally,
  whenOpen: () => Promise<unknown> = () => Promise.resolve()
): Promise<void> => {
  const visitors: Array<Visitor> = []
  while (visitors.length < size) {
    const count = Math.min(atOnce, size - visitors.length)
    const some = Array.from({ length: count }, (_, i) => visit(port, visitors.length + i, tally))
    visitors.push(...some)
    await Promise.all(some.map(({ answered }) => answered))
  }
  await whenOpen()
  tally.visits += size
  await Promise.all(visitors.map(({ leave }) => leave()))
}
