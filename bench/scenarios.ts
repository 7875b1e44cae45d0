/** What is measured, and on whom. */

export const peers = {
  ours: "effect-ws, this library",
  ws: "ws, its defaults",
  effect: "Effect's own Socket server, which is made of ws",
  net: "a byte echo over node:net, no WebSocket: the limit of Node's sockets"
} as const
export type Peer = keyof typeof peers

/** How our server echoes: message by message, or all that have come at once. */
export const modes = ["stream", "batch"] as const
export type Mode = typeof modes[number]

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
  /** Bytes of a message. */
  readonly size: number
  readonly text?: boolean
  /** Peers for which it means nothing. */
  readonly except?: ReadonlyArray<Peer>
}

const traffic = (connections: number, inFlight: number, size: number) =>
  ({ kind: "traffic", connections, inFlight, size }) as const

export const scenarios: Readonly<Record<string, Scenario>> = {
  pingpong: { about: "64 connections, 1 message of 32 B under way on each", ...traffic(64, 1, 32) },
  pipelined: { about: "64 connections, 16 messages of 32 B under way on each", ...traffic(64, 16, 32) },
  latency: { about: "1 connection, 1 message of 32 B under way", ...traffic(1, 1, 32) },
  kilobyte: { about: "16 connections, 1 KiB", ...traffic(16, 1, 1024) },
  text: { about: "16 connections, 1 KiB of text, little of it ASCII", ...traffic(16, 1, 1024), text: true },
  large: { about: "16 connections, 16 KiB", ...traffic(16, 1, 16 * 1024) },
  megabyte: { about: "4 connections, 1 MiB", ...traffic(4, 1, 1024 * 1024) },
  many: { about: "500 connections, 125 B", ...traffic(500, 1, 125) },
  broadcast: {
    about: "from one connection to 999 others, 64 B, 4 under way; each delivery counts as a message",
    ...traffic(1000, 4, 64),
    kind: "broadcast",
    except: ["effect", "net"]
  },
  idle: { about: "memory of connections that are open and quiet", ...traffic(2000, 1, 32), kind: "idle" },
  handshakes: {
    about: "connections opened and closed, 16 at a time; each counts as a message, timed until it is open",
    ...traffic(16, 1, 0),
    kind: "handshakes",
    except: ["net"]
  }
}
