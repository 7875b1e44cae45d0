/** RPC servers of Effect over connections, with clients over this library and Effect's own. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { RpcSerialization } from "effect/rpc"
import { Handshake, Socket, WebSocketClient } from "effect-ws"
import * as RpcServerProtocol from "effect-ws/RpcServerProtocol"
import { clientOver, clients, direct, directRouted, ownClient } from "./support/rpc.ts"
import { rpcSuite } from "./support/rpcSuite.ts"

const servers = { "RpcServerProtocol.layer": direct, "RpcServerProtocol.layerRoute": directRouted }

for (const [server, makeServer] of Object.entries(servers)) {
  rpcSuite(`RPC over ${server} and Socket.layer`, makeServer, clients["Socket.layer"])
  rpcSuite(`RPC over ${server} and Effect's own client`, makeServer, ownClient)

  describe(server, () => {
    it.live("calls get the headers of the handshake", () =>
      Effect.gen(function*() {
        const { url } = yield* makeServer()
        const client = yield* clientOver(Socket.layer(WebSocketClient.connect(url, { headers: { "X-User": "Ada" } })))
        assert.strictEqual(yield* client.WhoAmI(), "Ada")
      }))

    it.live("rejects requests that its options reject", () =>
      Effect.gen(function*() {
        const { url } = yield* makeServer({ decide: () => Effect.fail(Handshake.reject({ status: 401 })) })
        const error = yield* Effect.flip(WebSocketClient.connect(url))
        assert.deepInclude(error, { _tag: "HandshakeRejected", status: 401 })
      }))
  })
}

describe("RpcServerProtocol.make", () => {
  for (const streamWindow of [-1, NaN]) {
    it.effect(`fails with InvalidOption for a streamWindow of ${streamWindow}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(RpcServerProtocol.make({ streamWindow }))
        assert.deepInclude(error, { _tag: "InvalidOption", option: "streamWindow" })
      }).pipe(Effect.provide(RpcSerialization.layerJson)))
  }
})
