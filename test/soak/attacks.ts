/** Clients that do what they should not. Each does it once, and is gone or is cut. */
import { Frame } from "effect-ws"
import * as Net from "node:net"
import { deflateRawSync } from "node:zlib"
import type { Tally } from "./wellBehavedClients.ts"

const request = (extra = "", path = "/") =>
  `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
  `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n${extra}\r\n`

const masked = (...frames: ReadonlyArray<Frame.Frame>) => Buffer.concat(frames.map((frame) => Frame.encode(frame, 7)))
const repeated = (bytes: Buffer, count: number) => Buffer.alloc(bytes.length * count, bytes)
const deflate = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
const bomb = masked(
  new Frame.Frame(Frame.Opcode.Binary, deflateRawSync(Buffer.alloc(64 * 2 ** 20)), true, Frame.Reserved.Rsv1)
)
const empties = Buffer.concat([
  masked(Frame.text("", { fin: false })),
  repeated(masked(Frame.continuation("", { fin: false })), 20_000)
])
const pings = repeated(masked(Frame.ping(new Uint8Array(125))), 1000)
const flood = repeated(masked(Frame.binary(new Uint8Array(1000))), 100)
const conversation = Buffer.concat([
  Buffer.from(request()),
  masked(
    Frame.text("one"),
    Frame.text("tw", { fin: false }),
    Frame.ping(),
    Frame.continuation("o"),
    Frame.close(1000)
  )
])

/** Routes that refuse an upgrade, each in a way of its own. */
const refusing = [
  "/ordinary-late",
  "/rejects-late",
  "/ordinary-late",
  "/never-decides",
  "/ordinary",
  "/nowhere",
  "/rejects"
]

/** Asks a route that refuses, sends bytes that it does not wait for, and goes. */
const refused = (go: (socket: Net.Socket) => void): Bad => ({
  kind: "fault",
  to: "routes",
  run: (socket, turn) => {
    socket.write(request("", refusing[turn % refusing.length]))
    // Late ones answer between the two: then these bytes wait in a socket that was ended.
    setTimeout(() => socket.write(Buffer.alloc(100)), 10)
    setTimeout(() => go(socket), 30 + turn % 20)
  }
})

/** Writes again and again, and reads nothing, until it is cut. */
const press = (socket: Net.Socket, bytes: Buffer): void => {
  socket.pause()
  const more = (): void => {
    while (!socket.destroyed && socket.write(bytes));
  }
  socket.on("drain", more)
  more()
}

export interface Bad {
  readonly kind: "attack" | "fault"
  readonly run: (socket: Net.Socket, turn: number) => void
  /** Which server it is done to. Default: a server of our own. */
  readonly to?: "routes"
  /** What has to have ended each connection that it was done to, where that is always the same. */
  readonly cause?: string
}

const attackOf = (run: Bad["run"], cause?: string): Bad => ({
  kind: "attack",
  run,
  ...cause === undefined ? {} : { cause }
})

export const attacks: Readonly<Record<string, Bad>> = {
  "a handshake that never ends": attackOf((socket) => {
    const drip = setInterval(() => socket.write("X"), 100)
    socket.on("close", () => clearInterval(drip))
  }),
  "silent sockets": attackOf(() => {}),
  "bytes that are not HTTP": attackOf((socket, turn) => void socket.write(Buffer.alloc(1000, turn))),
  "a head without end": attackOf((socket) => press(socket, Buffer.from(`GET / HTTP/1.1\r\nX: ${"x".repeat(50_000)}`))),
  "invalid frames": attackOf((socket, turn) =>
    void socket.write(Buffer.concat([Buffer.from(request()), Buffer.alloc(100, turn)]))
  ),
  "a length over the limit": attackOf(
    (socket) =>
      void socket.write(Buffer.concat([Buffer.from(request()), Buffer.from("82ff7fffffffffffffff00000000", "hex")])),
    "LengthOutOfRange"
  ),
  "empty fragments without end": attackOf(
    (socket) => void socket.write(Buffer.concat([Buffer.from(request()), empties])),
    "TooManyFragments"
  ),
  "a deflate bomb": attackOf(
    (socket) => void socket.write(Buffer.concat([Buffer.from(request(deflate)), bomb])),
    "MessageTooLarge"
  ),
  "pings whose pongs are not read": attackOf((socket) => {
    socket.write(request())
    press(socket, pings)
  }, "WriteTimeout"),
  "messages whose echo is not read": attackOf((socket) => {
    socket.write(request())
    press(socket, flood)
  }, "WriteTimeout"),
  "silence, not even a pong": attackOf((socket) => void socket.write(request()), "KeepaliveTimeout"),
  "a close frame, and TCP that stays open": attackOf((socket) => {
    socket.write(Buffer.concat([Buffer.from(request()), masked(Frame.close(1000))]))
  }),
  "a conversation cut at each byte, with FIN": {
    kind: "fault",
    run: (socket, turn) => void socket.end(conversation.subarray(0, turn % conversation.length))
  },
  "a conversation cut at each byte, with RST": {
    kind: "fault",
    run: (socket, turn) =>
      void socket.write(conversation.subarray(0, turn % conversation.length), () => socket.resetAndDestroy())
  },
  "an upgrade that a route refuses, and bytes behind it, with FIN": refused((socket) => void socket.end()),
  "an upgrade that a route refuses, and bytes behind it, with RST": refused((socket) => void socket.resetAndDestroy())
}

const tried: Record<string, number> = {}
export const triedAttacks: Readonly<Record<string, number>> = tried

/** What the server may take to be rid of one, in milliseconds: twice its longest deadlines, one after the other. */
const mostPatience = 8000

export interface Ports {
  readonly server: number
  readonly routes: number
}

/** Does one of them, and waits until its socket is gone, which is for the server to see to. */
export const attack = (ports: Ports, name: string, turn: number, tally: Tally): Promise<void> =>
  new Promise((resolve) => {
    const { run, to = "server" } = attacks[name]
    const socket = Net.connect({ port: ports[to], host: "127.0.0.1", allowHalfOpen: true })
    const patience = setTimeout(() => {
      tally.violations.push(`the server did not end ${name}`)
      socket.destroy()
    }, Math.min(mostPatience, tally.patience))
    socket.on("error", () => {})
    socket.on("connect", () => {
      tried[name] = (tried[name] ?? 0) + 1
      run(socket, turn)
    })
    socket.on("data", () => {})
    socket.on("end", () => socket.destroy())
    socket.on("close", () => {
      clearTimeout(patience)
      resolve()
    })
  })
