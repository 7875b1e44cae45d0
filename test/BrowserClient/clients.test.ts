import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schedule } from "effect"
import { BrowserClient, MessageClient } from "effect-ws"
import { TestClock } from "effect/testing"
import { fakeSockets } from "../support/fakeWebSocket.ts"
import { settle } from "../support/memory.ts"

describe("reconnecting", () => {
  it.effect("runs URL and subprotocols for each attempt", () =>
    Effect.gen(function*() {
      const { layer, sockets } = fakeSockets()
      let token = 0
      const client = yield* BrowserClient.reconnecting(Effect.sync(() => `ws://there/${++token}`), {
        protocols: Effect.sync(() => [`token.${token}`]),
        schedule: Schedule.spaced("1 second"),
        outboundHighWaterMark: 0
      }).pipe(Effect.provide(layer))
      yield* settle
      sockets[0].lose()
      yield* settle
      yield* TestClock.adjust("1 second")
      yield* settle
      assert.deepStrictEqual(sockets.map(({ protocols, url }) => [url, protocols]), [
        ["ws://there/1", ["token.1"]],
        ["ws://there/2", ["token.2"]]
      ])
      sockets[1].accept("token.2")
      yield* client.send("a")
      assert.deepStrictEqual(sockets[1].sent, ["a"])
      sockets[1].onClose = (code) => setImmediate(() => sockets[1].end(code))
    }))
})

describe("layer", () => {
  it.effect("provides a MessageClient, with options that those of connect override", () =>
    Effect.gen(function*() {
      const { layer, sockets } = fakeSockets((socket) => {
        socket.onClose = (code) => setImmediate(() => socket.end(code))
        socket.accept()
      })
      const Client = BrowserClient.layer({ protocols: ["v1"], maxUnreadAmount: 0 }).pipe(Layer.provide(layer))
      yield* Effect.gen(function*() {
        yield* MessageClient.connect("ws://there/a")
        yield* MessageClient.connect("ws://there/b", { protocols: ["v2"] })
        yield* (yield* MessageClient.reconnecting("ws://there/c", { protocols: Effect.succeed(["v3"]) })).connection
      }).pipe(Effect.scoped, Effect.provide(Client))
      assert.deepStrictEqual(sockets.map(({ protocols }) => protocols), [["v1"], ["v2"], ["v3"]])
    }))
})
