import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Fiber, Layer, Stream } from "effect"
import { Connection, Frame, Handshake, PerMessageDeflate, WebSocketClient, WebSocketServer } from "effect-ws"
import * as Testing from "effect-ws/Testing"
import { TestClock } from "effect/testing"
import { Agent } from "node:http"
import { contentOf } from "./support/memory.ts"

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

  it.effect("fail with InvalidOption if an option is invalid", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Effect.scoped(Layer.build(Testing.layer({ handshakeTimeout: 0 }))))
      assert.deepInclude(error, { _tag: "InvalidOption", option: "handshakeTimeout" })
    }))
})

describe("a link", () => {
  it.effect("delays bytes by the latency of their direction, in order", () =>
    Effect.gen(function*() {
      const { client, server } = yield* Testing.makePair({
        link: { toServer: { latency: "3 seconds" }, toClient: { latency: "1 second" } }
      })
      const roundTrip = yield* Effect.forkChild(client.ping(), { startImmediately: true })
      yield* client.sendAll(["a", "b"])
      yield* Testing.settle
      yield* TestClock.adjust("2999 millis")
      yield* Testing.settle
      assert.strictEqual((yield* server.stats).bytesIn, 0)
      yield* client.send("c")
      yield* Testing.settle
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(contentOf(yield* server.receive), "a")
      assert.strictEqual(contentOf(yield* server.receive), "b")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(Duration.toMillis(yield* Fiber.join(roundTrip)), 4000)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(contentOf(yield* server.receive), "c")
      const closing = yield* Effect.forkChild(client.close())
      yield* Testing.settle
      for (let i = 0; i < 4; i++) {
        yield* TestClock.adjust("3 seconds")
        yield* Testing.settle
      }
      assert.isTrue((yield* Fiber.join(closing)).clean)
    }))

  it.effect("chunkSize splits a write into several reads", () =>
    Effect.gen(function*() {
      const { connection, link, peer } = yield* Testing.makeConnection({
        role: "client",
        keepalive: false,
        link: { toServer: { chunkSize: 4 } }
      })
      yield* connection.send("hello")
      assert.strictEqual(Buffer.from((yield* peer.receive).payload).toString(), "hello")
      assert.deepStrictEqual((yield* peer.reads).map(({ length }) => length), [4, 4, 3])
      assert.strictEqual(link.client.bufferedAmount(), 0)
    }))

  it.effect("dies with InvalidOption if chunkSize is 0", () =>
    Effect.gen(function*() {
      const defect = yield* Testing.makeLink({ toServer: { chunkSize: 0 } }).pipe(Effect.catchDefect(Effect.succeed))
      assert.deepInclude(defect, { _tag: "InvalidOption", option: "chunkSize" })
    }))

  it.effect("resetAfterBytes breaks the link in the middle of a frame", () =>
    Effect.gen(function*() {
      const { client, server } = yield* Testing.makePair({ link: { toServer: { resetAfterBytes: 20 } } })
      yield* client.sendAll(["12345", "12345"])
      assert.deepInclude((yield* server.closed).cause, { _tag: "UnexpectedEof" })
      assert.deepInclude((yield* client.closed).cause, { _tag: "TransportError", code: "ECONNRESET" })
      assert.strictEqual((yield* server.stats).bytesIn, 20)
      assert.strictEqual(contentOf(yield* server.receive), "12345")
    }))

  it.effect("blackhole drops all bytes, so that both ends time out", () =>
    Effect.gen(function*() {
      const { client, link, server } = yield* Testing.makePair()
      yield* link.blackhole
      yield* client.send("x")
      const closing = yield* Effect.forkChild(client.close())
      yield* Testing.settle
      yield* TestClock.adjust("10 seconds")
      assert.deepInclude((yield* Fiber.join(closing)).cause, { _tag: "CloseTimeout" })
      yield* Testing.settle
      yield* TestClock.adjust("30 seconds")
      assert.deepInclude((yield* server.closed).cause, { _tag: "KeepaliveTimeout" })
    }))

  it.effect("a blackhole is reset when the Scope closes", () =>
    Effect.gen(function*() {
      const ends = yield* Effect.scoped(Effect.gen(function*() {
        const { client, link, server } = yield* Testing.makePair()
        yield* link.blackhole
        return [client.closed, server.closed]
      }))
      for (const end of ends) assert.deepInclude((yield* end).cause, { _tag: "TransportError", code: "ECONNRESET" })
    }))

  it.effect("backpressure suspends a sender when the receiver does not read", () =>
    Effect.gen(function*() {
      const { client, server } = yield* Testing.makePair({
        server: { inboundHighWaterMark: 1000, keepalive: false },
        client: { keepalive: false }
      })
      const sending = yield* Effect.forkChild(
        Effect.replicateEffect(client.send("x".repeat(1000)), 1000, { discard: true })
      )
      yield* Testing.settle
      assert.isUndefined(sending.pollUnsafe())
      assert.isBelow((yield* client.stats).bytesOut, 200_000)
      yield* Effect.replicateEffect(server.receive, 1000, { discard: true })
      yield* Fiber.join(sending)
    }))
})

describe("a peer", () => {
  it.effect("sends valid and invalid frames and bytes", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* Testing.makeConnection({ role: "server" })
      yield* peer.send(Frame.text("a", { fin: false }), Frame.continuation("b"))
      assert.strictEqual(contentOf(yield* connection.receive), "ab")
      yield* peer.sendBytes(Frame.encode(Frame.text("not masked")))
      const close = yield* peer.receive
      assert.deepStrictEqual(Frame.readClose(close.payload), { code: 1002, reason: "UnmaskedFrame" })
      assert.deepInclude((yield* connection.closed).cause, { _tag: "UnmaskedFrame" })
      yield* Testing.settle
      assert.isTrue(yield* peer.receivedEof)
    }))

  it.effect("can pause reading, end its side, and destroy the transport", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* Testing.makeConnection({ role: "client", keepalive: false })
      yield* peer.pause
      const sending = yield* Effect.forkChild(
        Effect.replicateEffect(connection.send(new Uint8Array(10_000)), 20, { discard: true })
      )
      yield* Testing.settle
      assert.isUndefined(sending.pollUnsafe())
      assert.strictEqual((yield* peer.received).length, 0)
      yield* peer.resume
      yield* Fiber.join(sending)
      for (let i = 0; i < 20; i++) assert.strictEqual((yield* peer.receive).payload.length, 10_000)
      yield* peer.end
      assert.deepInclude((yield* connection.closed).cause, { _tag: "UnexpectedEof" })
      yield* peer.destroy
      yield* peer.closed
    }))

  it.effect("a peer that reads nothing does not delay the close of the Scope", () =>
    Effect.gen(function*() {
      const closed = yield* Effect.scoped(Effect.gen(function*() {
        const { connection, peer } = yield* Testing.makeConnection({ role: "server" })
        yield* peer.pause
        const sending = yield* Effect.forkChild(Effect.forever(connection.send(new Uint8Array(50_000))))
        yield* Testing.settle
        assert.isAbove((yield* connection.stats).bufferedAmount, 0)
        yield* Fiber.interrupt(sending)
        return connection.closed
      }))
      assert.isDefined((yield* closed).cause)
    }))

  it.effect("an interrupted receive leaves the frame to the next one", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* Testing.makeConnection({ role: "client", keepalive: false })
      const waiting = yield* Effect.forkChild(peer.receive, { startImmediately: true })
      yield* Fiber.interrupt(waiting)
      yield* connection.send("x")
      assert.strictEqual((yield* peer.receive).payload.length, 1)
    }))

  it.effect("layerPeer replaces the servers of a client program", () =>
    Effect.gen(function*() {
      const heard = yield* Deferred.make<string>()
      const script = (peer: Testing.Peer, url: string) =>
        Effect.gen(function*() {
          const { payload } = yield* peer.receive
          yield* Deferred.succeed(heard, `${url} ${Buffer.from(payload)}`)
          yield* peer.send(Frame.text("welcome"))
          yield* peer.destroy
        })
      yield* Effect.gen(function*() {
        const connection = yield* WebSocketClient.connect("ws://anywhere/")
        yield* connection.send("hello")
        assert.strictEqual(contentOf(yield* connection.receive), "welcome")
        assert.deepInclude((yield* connection.closed).cause, { _tag: "UnexpectedEof" })
      }).pipe(Effect.provide(Testing.layerPeer(script)))
      assert.strictEqual(yield* Deferred.await(heard), "ws://anywhere/ hello")
    }))
})
