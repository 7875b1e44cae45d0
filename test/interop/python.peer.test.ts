/** Against libraries of Python, in both roles. */
import { Effect } from "effect"
import { python, withPeer } from "../support/peers.ts"
import { interop } from "./exchanges.ts"
import { startProgram } from "./program.ts"

const forgetsCompression = "it takes what follows a ping for uncompressed"

withPeer("Python websockets", (title) =>
  interop({
    title,
    roles: ["client", "server"],
    start: startProgram(python, "websockets_peer.py"),
    cannot: { "close without a code": "it always closes with a code" }
  }))

withPeer("aiohttp", (title) =>
  interop({
    title,
    roles: ["client", "server"],
    start: startProgram(python, "aiohttp_peer.py"),
    cannot: {
      "close without a code": "it always closes with a code",
      fragments: "it has no way to send fragments",
      "pings among compressed fragments": forgetsCompression
    }
  }))

withPeer("h2 and wsproto", (title) =>
  interop({
    title,
    roles: ["client"],
    start: Effect.map(startProgram(python, "h2_peer.py"), (running) => ({ ...running, http2: "cleartext" as const })),
    cannot: {
      "close without a code": "it always closes with a code",
      "pings among compressed fragments": forgetsCompression
    }
  }))

withPeer("Tornado", (title) =>
  interop({
    title,
    roles: ["client", "server"],
    start: startProgram(python, "tornado_peer.py"),
    cannot: {
      fragments: "it has no way to send fragments",
      "pings among compressed fragments": forgetsCompression,
      "forget the context": "it overlooks parameters without a value"
    }
  }))

withPeer("h2 and wsproto", (title) =>
  interop({
    title: `a server on ${title}`,
    roles: ["server"],
    start: Effect.map(startProgram(python, "h2_server_peer.py"), (peer) => ({ ...peer, options: { http2: "only" } })),
    cannot: { "pings among compressed fragments": forgetsCompression }
  }))
