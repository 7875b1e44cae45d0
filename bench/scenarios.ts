/** What is measured, and on whom. */
import type { Content, Deflate, Protocol } from "./wire.ts"

export const peers = {
  ours: "effect-ws, this library",
  ws: "ws, its defaults",
  effect: "Effect's own Socket server, which is made of ws",
  net: "a byte echo over node:net, no WebSocket: the limit of Node's sockets",
  "socket.io": "Socket.IO, events to all other sockets",
  bun: "Bun's own server and its publish; needs the path of its binary in BUN"
} as const
export type Peer = keyof typeof peers

export const protocolOf = (peer: Peer): Protocol =>
  peer === "net" ? "raw" : peer === "socket.io" ? "socket.io" : "websocket"

/** How our server echoes: message by message, or all that have come at once. */
export const modes = ["stream", "batch"] as const
export type Mode = typeof modes[number]

/**
 * What a server does with a message: sends it back, as it is or decoded and encoded as JSON, or sends it to all others.
 * "compiled" is "typed" with Effect's compiler of schemas.
 */
export const services = ["echo", "typed", "compiled", "broadcast"] as const
export type Service = typeof services[number]

/** What a server is told of a scenario. */
export interface Serving {
  readonly mode: Mode
  readonly service: Service
  /** What the load generator offers. */
  readonly deflate: Deflate | undefined
}

export interface Scenario {
  readonly about: string
  /**
   * What the load generator does: keep messages going round, publish on one connection what all others get, open and
   * close connections, or open them and be quiet.
   */
  readonly kind: "traffic" | "broadcast" | "handshakes" | "idle"
  readonly connections: number
  /** How many messages each connection has under way. */
  readonly inFlight: number
  /** Bytes of a message, about so many if it is JSON. */
  readonly size: number
  /** Default "bytes". */
  readonly content?: Content
  /** Default "echo", and "broadcast" for that kind. */
  readonly service?: Exclude<Service, "broadcast">
  /** Default: no compression. */
  readonly deflate?: Deflate
  /** For which it means something. Default: `echoing`. */
  readonly peers?: ReadonlyArray<Peer>
}

export const serviceOf = ({ kind, service = "echo" }: Scenario): Service => kind === "broadcast" ? kind : service

const echoing: ReadonlyArray<Peer> = ["ours", "ws", "effect", "net"]
export const peersOf = (scenario: Scenario): ReadonlyArray<Peer> => scenario.peers ?? echoing

const traffic = (connections: number, inFlight: number, size: number) =>
  ({ kind: "traffic", connections, inFlight, size }) as const

const broadcast = (inFlight: number, size: number) => ({ ...traffic(1000, inFlight, size), kind: "broadcast" }) as const

const small = { ...broadcast(4, 64), peers: ["ours", "ws", "socket.io", "bun"] } as const
const compressed = { ...broadcast(4, 1024), content: "json", peers: ["ours", "ws", "bun"] } as const
const typed = { content: "json", service: "typed", peers: ["ours", "ws"] } as const

export const scenarios: Readonly<Record<string, Scenario>> = {
  pingpong: { about: "64 connections, 1 message of 32 B under way on each", ...traffic(64, 1, 32) },
  pipelined: { about: "64 connections, 16 messages of 32 B under way on each", ...traffic(64, 16, 32) },
  latency: { about: "1 connection, 1 message of 32 B under way", ...traffic(1, 1, 32) },
  kilobyte: { about: "16 connections, 1 KiB", ...traffic(16, 1, 1024) },
  text: { about: "16 connections, 1 KiB of text, little of it ASCII", ...traffic(16, 1, 1024), content: "text" },
  large: { about: "16 connections, 16 KiB", ...traffic(16, 1, 16 * 1024) },
  megabyte: { about: "4 connections, 1 MiB", ...traffic(4, 1, 1024 * 1024) },
  many: { about: "500 connections, 125 B", ...traffic(500, 1, 125) },
  many2k: { about: "2,000 connections, 1 message of 32 B under way on each", ...traffic(2000, 1, 32) },
  many10k: { about: "10,000 connections, 1 message of 32 B under way on each", ...traffic(10_000, 1, 32) },
  typed: {
    about:
      "16 connections, 16 messages of 125 B of JSON under way on each; ours by schema, ws with JSON.parse and stringify",
    ...traffic(16, 16, 125),
    ...typed
  },
  typed1: { about: "the same, 1 message under way on each", ...traffic(16, 1, 125), ...typed },
  typedjit: {
    about: "as typed, ours with effect/schema/SchemaJITCompiler/enable",
    ...traffic(16, 16, 125),
    ...typed,
    service: "compiled"
  },
  typedjit1: { about: "the same, 1 message under way on each", ...traffic(16, 1, 125), ...typed, service: "compiled" },
  broadcast: {
    about: "from one connection to 999 others, 64 B, 4 under way; each delivery counts as a message",
    ...small
  },
  broadcast1: { about: "the same, 1 under way", ...small, inFlight: 1 },
  broadcastdeflate: {
    about: "from one connection to 999 others, 1 KiB of JSON, 4 under way, permessage-deflate without context takeover",
    ...compressed,
    deflate: "noTakeover"
  },
  broadcasttakeover: { about: "the same, with context takeover", ...compressed, deflate: "takeover" },
  idle: { about: "memory of connections that are open and quiet", ...traffic(2000, 1, 32), kind: "idle" },
  handshakes: {
    about: "connections opened and closed, 16 at a time; each counts as a message, timed until it is open",
    ...traffic(16, 1, 0),
    kind: "handshakes",
    peers: ["ours", "ws", "effect"]
  }
}
