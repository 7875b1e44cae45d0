/** RPC servers and clients of Effect, unmodified, over connections of this library. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Handshake, Socket, WebSocketClient } from "effect-ws"
import { clientOver, clients, routed, standalone } from "../support/rpc.ts"
import { rpcSuite } from "../support/rpcSuite.ts"

for (const [server, makeServer] of [["SocketServer.layer", standalone], ["SocketServer.upgrade", routed]] as const) {
  for (const [name, layer] of Object.entries(clients)) rpcSuite(`RPC over ${server} and ${name}`, makeServer, layer)
}

describe("SocketServer.upgrade", () => {
  it.live("calls get the headers of the request", () =>
    Effect.gen(function*() {
      const { url } = yield* routed()
      const client = yield* clientOver(Socket.layer(WebSocketClient.connect(url, { headers: { "X-User": "Ada" } })))
      assert.strictEqual(yield* client.WhoAmI(), "Ada")
    }))

  it.live("rejects requests that its options reject", () =>
    Effect.gen(function*() {
      const { url } = yield* routed({ decide: () => Effect.fail(Handshake.reject({ status: 401 })) })
      const error = yield* Effect.flip(WebSocketClient.connect(url))
      assert.deepInclude(error, { _tag: "HandshakeRejected", status: 401 })
    }))
})
