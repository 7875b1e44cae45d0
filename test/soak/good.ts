/** Clients that do what they should, and count. */
import { Effect, Stream } from "effect"
import { Connection, Frame, PerMessageDeflate, WebSocketClient } from "effect-ws"
import * as Net from "node:net"

type Shape = Connection.Connection["Service"]

export class Tally {
  /** Messages that `send` has accepted, by the name of the connection. */
  readonly accepted: Record<string, number> = {}
  echoed = 0
  sessions = 0
  visits = 0
  readonly violations: Array<string> = []
  /** Round trips, in milliseconds. */
  readonly roundTrips: Array<number> = []
}

const textOf = (sequence: number): string => {
  const size = sequence % 50 === 0 ? 40_000 : sequence % 10 === 0 ? 3000 : 20
  return `${sequence} `.padEnd(size, "lorem ipsum ")
}

/** The one after the other, each answered before the next: what others feel of the load. */
const talk = (connection: Shape, tally: Tally, count: number, first: number) =>
  Effect.gen(function*() {
    for (let sequence = first; sequence < first + count; sequence++) {
      const began = performance.now()
      yield* connection.send(textOf(sequence))
      yield* expect(connection, tally, sequence)
      tally.roundTrips.push(performance.now() - began)
    }
  })

const expect = (connection: Shape, tally: Tally, sequence: number) =>
  Effect.map(connection.receive, (message) => {
    tally.echoed++
    if (message._tag !== "Text" || message.text !== textOf(sequence)) {
      tally.violations.push(`expected message ${sequence}, and got another`)
    }
  })

/** A connection of the library's: single messages, many at once, and in fragments; pings; the closing handshake. */
export const session = (url: string, name: string, tally: Tally) =>
  Effect.gen(function*() {
    const extensions = tally.sessions % 2 === 0 ? [PerMessageDeflate.make()] : []
    const connection = yield* WebSocketClient.connect(`${url}/${name}`, { extensions, maxMessageSize: 2 ** 20 })
    yield* talk(connection, tally, 50, 0)
    const sending = Effect.gen(function*() {
      yield* connection.sendAll(Array.from({ length: 100 }, (_, i) => textOf(50 + i)))
      for (let sequence = 150; sequence < 250; sequence++) yield* connection.send(textOf(sequence))
      const text = textOf(250)
      yield* connection.sendFragments(Stream.make(text.slice(0, 1), text.slice(1, 20_000), text.slice(20_000)))
    })
    const receiving = Effect.gen(function*() {
      for (let sequence = 50; sequence <= 250; sequence++) yield* expect(connection, tally, sequence)
    })
    yield* Effect.all([sending, receiving, connection.ping()], { concurrency: 3 })
    yield* talk(connection, tally, 50, 251)
    tally.accepted[name] = 301
    tally.sessions++
    const end = yield* connection.close(1000)
    if (!end.normal) tally.violations.push(`a session ended badly: ${end.message}`)
  }).pipe(
    Effect.scoped,
    Effect.catch((error) => Effect.sync(() => void tally.violations.push(`a session failed: ${error.message}`)))
  )

const greeting = Buffer.concat([
  Buffer.from(
    "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
  ),
  Frame.encode(Frame.text("hello"), 7)
])

/** Many connections at once: all open, all are answered, and all go. */
export const wave = async (port: number, size: number, tally: Tally): Promise<void> => {
  const visit = (i: number): Promise<Net.Socket> =>
    new Promise((resolve) => {
      // From many addresses, because one has not that many ports.
      const socket = Net.connect({ port, host: "127.0.0.1", localAddress: `127.0.${1 + i % 50}.${1 + i % 7}` })
      let got = ""
      socket.on("error", (error) => tally.violations.push(`a visit failed: ${error.message}`))
      socket.on("end", () => {
        tally.violations.push("a visit was cut")
        resolve(socket)
      })
      socket.on("data", (chunk) => {
        if (chunk[0] === 0x89) return socket.write(Frame.encode(Frame.pong(chunk.subarray(2)), 7))
        got += chunk.toString("latin1")
        return got.endsWith("hello") ? resolve(socket) : undefined
      })
      socket.write(greeting)
    })
  const sockets: Array<Net.Socket> = []
  // So many at a time as fit into the system's queue of those that wait to be accepted.
  for (let begun = 0; begun < size; begun += 200) {
    const count = Math.min(200, size - begun)
    sockets.push(...await Promise.all(Array.from({ length: count }, (_, i) => visit(begun + i))))
  }
  for (const socket of sockets) socket.resetAndDestroy()
  tally.visits += sockets.length
}
