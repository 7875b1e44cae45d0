/** Against Bun, in both roles. */
import { bun, withPeer } from "../support/peers.ts"
import { interop } from "./exchanges.ts"
import { startProgram } from "./program.ts"

withPeer("Bun", (title) =>
  interop({
    title,
    roles: ["client", "server"],
    start: startProgram(bun, "bun_peer.js"),
    cannot: {
      fragments: "it has no way to send fragments",
      server: { "close without a code": "its server closes with 1000 then" }
    }
  }))
