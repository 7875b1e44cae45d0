import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Stream } from "effect"
import { Connection, Handshake, PerMessageDeflate, WebSocketClient, WebSocketServer } from "effect-ws"
import * as Testing from "effect-ws/Testing"
import { TestClock } from "effect/testing"
import { Agent } from "node:http"
import { contentOf } from "../support/memory.ts"

const Echo = WebSocketServer.serve(
  Effect.gen(function*() {
    const connection = yield* Connection.Connection
    yield* Stream.runForEach(connection.messages, connection.send)
  }),
  {
    protocols: ["v1"],
    extensions: [PerMessageDeflate.make({ threshold: 0 })],
    decide: ({ query }) =>
      Effect.succeed(
        query.get("token") === "no"
          ? Handshake.reject({ status: 401, body: "who?" })
          : query.has("moved")
          ? Handshake.reject({ status: 307, headers: { Location: "wss://elsewhere/there" } })
          : Handshake.accept()
      )
  }
)

const inMemory = (options?: Testing.LayerOptions) => Echo.pipe(Layer.provideMerge(Testing.layer(options)))

describe("a server and its clients", () => {
  it.effect("a client and the server do the full handshake", () =>
    Effect.gen(function*() {
      const connection = yield* WebSocketClient.connect("ws://anywhere/chat?a=b", {
        protocols: ["v2", "v1"],
        extensions: [PerMessageDeflate.make({ threshold: 0 })]
      })
      assert.strictEqual(connection.subprotocol, "v1")
      assert.strictEqual(connection.extensions.length, 1)
      const { connections } = yield* WebSocketServer.WebSocketServer
      const [there] = yield* connections
      assert.deepStrictEqual([there.request.path, there.request.host], ["/chat", "anywhere"])
      const long = "x".repeat(200_000)
      yield* connection.sendAll(["one", long])
      assert.strictEqual(contentOf(yield* connection.receive), "one")
      assert.strictEqual(contentOf(yield* connection.receive), long)
      assert.isTrue((yield* connection.close()).clean)
      const links = yield* Effect.flatMap(Testing.Network, (network) => network.links)
      assert.strictEqual(links.length, 1)
    }).pipe(Effect.provide(inMemory())))

  it.effect("both ends consider a wss URL encrypted", () =>
    Effect.gen(function*() {
      const connection = yield* WebSocketClient.connect("wss://anywhere/", {
        headers: { Origin: "https://anywhere" }
      })
      yield* connection.send("hello")
      assert.strictEqual(contentOf(yield* connection.receive), "hello")
      const [there] = yield* Effect.flatMap(WebSocketServer.WebSocketServer, ({ connections }) => connections)
      assert.deepStrictEqual([connection.request.secure, there.request.secure], [true, true])
    }).pipe(Effect.provide(inMemory())))

  it.effect("the server rejects requests, and the client gets the response", () =>
    Effect.gen(function*() {
      const refused = yield* Effect.flip(WebSocketClient.connect("ws://anywhere/here?token=no"))
      assert.deepInclude(refused, { _tag: "HandshakeRejected", status: 401, body: "who?" })
      const elsewhere = yield* Effect.flip(WebSocketClient.connect("ws://anywhere/there"))
      assert.deepInclude(elsewhere, { _tag: "HandshakeRejected", status: 404 })
    }).pipe(Effect.provide(inMemory({ path: "/here" }))))

  it.effect("a redirect leads to a second link", () =>
    Effect.gen(function*() {
      const connection = yield* WebSocketClient.connect("ws://anywhere/here?moved", { maxRedirects: 1 })
      assert.deepStrictEqual([connection.request.host, connection.request.secure], ["elsewhere", true])
      yield* connection.send("hello")
      assert.strictEqual(contentOf(yield* connection.receive), "hello")
      const links = yield* Effect.flatMap(Testing.Network, (network) => network.links)
      assert.strictEqual(links.length, 2)
    }).pipe(Effect.provide(inMemory())))

  it.effect("a client connects in memory whatever its agent, proxy or socketPath is", () =>
    Effect.gen(function*() {
      for (const options of [{ socketPath: "/nowhere.sock" }, { agent: new Agent() }]) {
        const connection = yield* WebSocketClient.connect("ws://anywhere/", options)
        yield* connection.send("hello")
        assert.strictEqual(contentOf(yield* connection.receive), "hello")
      }
    }).pipe(Effect.provide(inMemory())))

  it.effect("closing the layer closes its connections", () =>
    Effect.gen(function*() {
      const connection = yield* Effect.provide(
        Effect.flatMap(WebSocketClient.connect("ws://anywhere/"), (opened) => Effect.as(opened.send("x"), opened)),
        inMemory()
      )
      assert.strictEqual((yield* connection.closed).code, 1001)
    }))

  it.effect("closing the layer ends handlers that sleep, although nothing adjusts the clock", () =>
    Effect.gen(function*() {
      const exits: Array<string> = []
      const sleeping = WebSocketServer.serve(
        Effect.gen(function*() {
          yield* (yield* Connection.Connection).receive
          yield* Effect.sleep("1 hour").pipe(Effect.onExit((exit) => Effect.sync(() => exits.push(exit._tag))))
        })
      )
      yield* Effect.flatMap(WebSocketClient.connect("ws://anywhere/"), ({ send }) => send("sleep")).pipe(
        Effect.andThen(Testing.settle),
        Effect.provide(sleeping.pipe(Layer.provideMerge(Testing.layer())))
      )
      assert.deepStrictEqual(exits, ["Failure"])
    }))

  it.effect("a handshake can time out, and the network can reset it", () =>
    Effect.gen(function*() {
      const connecting = yield* Effect.forkChild(Effect.flip(WebSocketClient.connect("ws://anywhere/")))
      yield* Testing.settle
      yield* TestClock.adjust("10 seconds")
      assert.deepInclude(yield* Fiber.join(connecting), { _tag: "HandshakeTimeout" })
    }).pipe(Effect.provide(inMemory({ link: { toServer: { latency: "1 minute" } } }))))

  it.effect("messages larger than the high-water mark of the link arrive", () =>
    Effect.gen(function*() {
      const connection = yield* WebSocketClient.connect("ws://anywhere/")
      const large = new Uint8Array(500_000).fill(7)
      yield* connection.send(large)
      assert.deepStrictEqual((yield* connection.receive).bytes, large)
    }).pipe(Effect.provide(inMemory())))

  it.effect("a connection fails when its link is reset", () =>
    Effect.gen(function*() {
      const connection = yield* WebSocketClient.connect("ws://anywhere/")
      const [link] = yield* Effect.flatMap(Testing.Network, (network) => network.links)
      yield* link.reset
      const end = yield* connection.closed
      assert.deepInclude(end.cause, { _tag: "TransportError", code: "ECONNRESET" })
      assert.deepInclude(yield* Effect.flip(connection.send("x")), { _tag: "ConnectionClosed" })
    }).pipe(Effect.provide(inMemory())))

  it.effect("lastLink is the link of the last connection, and dies before the first", () =>
    Effect.gen(function*() {
      const { lastLink, links } = yield* Testing.Network
      const defect = yield* Effect.catchDefect(lastLink, Effect.succeed)
      assert.match(String(defect), /no client has connected/)
      const first = yield* WebSocketClient.connect("ws://anywhere/")
      yield* WebSocketClient.connect("ws://anywhere/")
      const link = yield* lastLink
      assert.strictEqual((yield* links)[1], link)
      yield* link.reset
      yield* first.send("hello")
      assert.strictEqual(contentOf(yield* first.receive), "hello")
    }).pipe(Effect.provide(inMemory())))

  it.effect("the layer fails with InvalidOption if an option is invalid", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Effect.scoped(Layer.build(Testing.layer({ handshakeTimeout: 0 }))))
      assert.deepInclude(error, { _tag: "InvalidOption", option: "handshakeTimeout" })
    }))
})
