/**
 * Against the test server and the test client of libwebsockets, which do what
 * they do: the server sends texts back to all who speak its mirror protocol;
 * the client sends texts, has them mirrored, and compares what comes.
 */
import { Effect } from "effect"
import { withPeer } from "../support/peers.ts"
import { listening } from "../support/port.ts"
import { runProgram } from "../support/process.ts"
import { interop } from "./exchanges.ts"

withPeer("libwebsockets", (title) => {
  interop({
    title,
    roles: ["server"],
    protocols: ["lws-mirror-protocol"],
    cannot: {
      obey: "it does not do what it is asked to",
      report: "it does not tell",
      binary: "it mirrors binary as text",
      "long messages": "it mirrors each part that it reads as a message",
      "join fragments": "it mirrors each fragment as a message"
    },
    start: Effect.map(
      listening((port) => runProgram("libwebsockets-test-server", [`--port=${port}`, "-i", "lo"])),
      ({ port }) => ({ url: `ws://127.0.0.1:${port}`, ended: () => Effect.never })
    )
  })
})
