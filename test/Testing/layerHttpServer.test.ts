/** Testing.layerHttpServer: applications of effect/http without a network. */
import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Layer, Schema, Scope, Stream } from "effect"
import {
  FetchHttpClient,
  HttpClient,
  HttpClientRequest,
  HttpRouter,
  HttpServer,
  HttpServerRequest,
  HttpServerResponse
} from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { Connection, Handshake, type HandshakeError, WebSocketClient, WebSocketServer } from "effect-ws"
import * as Testing from "effect-ws/Testing"
import { TestClock } from "effect/testing"
import type { Server } from "node:http"
import { contentOf } from "../support/memory.ts"
import { echo } from "../support/serving.ts"

class User extends Context.Service<User, { readonly name: string }>()("test/User") {}

const Authenticated = HttpRouter.middleware<{ provides: User }>()(
  Effect.succeed((route) =>
    Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ headers }) =>
      headers["authorization"] === "Bearer s3cret"
        ? Effect.provideService(route, User, { name: "Ada" })
        : Effect.succeed(HttpServerResponse.text("a token is missing", { status: 401 })))
  )
)

const greet = Effect.gen(function*() {
  const connection = yield* Connection.Connection
  const { room } = yield* HttpRouter.params
  yield* connection.send(`${(yield* User).name}, welcome to ${room}`)
  yield* Stream.runForEach(connection.messages, connection.send)
})

const Routes = Layer.mergeAll(
  HttpRouter.add("GET", "/rooms/:room", WebSocketServer.upgrade(greet)).pipe(Layer.provide(Authenticated.layer)),
  HttpRouter.add(
    "GET",
    "/decided",
    WebSocketServer.upgrade(echo, {
      protocols: ["v1"],
      decide: ({ query }) =>
        Effect.succeed(
          query.has("full")
            ? Handshake.reject({ status: 409, headers: { "X-Reason": "full" }, body: "the room is full" })
            : Handshake.accept({ headers: { "X-Seat": "7" } })
        )
    })
  ),
  HttpRouter.add("GET", "/plain", HttpServerResponse.text("plain")),
  HttpRouter.add("GET", "/moved", HttpServerResponse.redirect("/plain")),
  HttpRouter.add(
    "POST",
    "/shout",
    Effect.flatMap(
      HttpServerRequest.HttpServerRequest,
      ({ text }) => Effect.map(text, (body) => HttpServerResponse.text(body.toUpperCase()))
    )
  )
)

const serve = <A, E, R>(routes: Layer.Layer<A, E, R>) =>
  HttpRouter.serve(routes as Layer.Layer<A, E, HttpRouter.HttpRouter>, { disableLogger: true, disableListenLog: true })

const inMemory = <A, E, R>(
  routes: Layer.Layer<A, E, R>,
  options?: { readonly link?: Testing.LinkOptions }
) => serve(routes).pipe(Layer.provideMerge(Testing.layerHttpServer(NodeHttpServer.layer, options)))

const rejected = (url: string) =>
  Effect.map(
    Effect.flip(WebSocketClient.connect(url)),
    (error: HandshakeError.ConnectError) =>
      error._tag === "HandshakeRejected" ? error : assert.fail(`${error._tag}: ${error.message}`)
  )

describe("routes of an HttpRouter", () => {
  it.effect("a handler has the path parameters and the services of middleware", () =>
    Effect.gen(function*() {
      const connection = yield* WebSocketClient.connect("ws://anywhere/rooms/blue", {
        headers: { Authorization: "Bearer s3cret" }
      })
      assert.strictEqual(contentOf(yield* connection.receive), "Ada, welcome to blue")
      const large = "x".repeat(200_000)
      yield* connection.send(large)
      assert.strictEqual(contentOf(yield* connection.receive), large)
      assert.isTrue((yield* connection.close()).clean)
      const links = yield* Effect.flatMap(Testing.Network, (network) => network.links)
      assert.strictEqual(links.length, 1)
    }).pipe(Effect.provide(inMemory(Routes))))

  it.effect("a client gets the rejection of middleware, of decide and of the router", () =>
    Effect.gen(function*() {
      const unauthorized = yield* rejected("ws://anywhere/rooms/blue")
      assert.deepStrictEqual([unauthorized.status, unauthorized.body], [401, "a token is missing"])
      const full = yield* rejected("ws://anywhere/decided?full")
      assert.deepStrictEqual([full.status, full.body, full.headers["x-reason"]], [409, "the room is full", "full"])
      assert.strictEqual((yield* rejected("ws://anywhere/nowhere")).status, 404)
    }).pipe(Effect.provide(inMemory(Routes))))

  it.effect("decide selects headers and subprotocol of the response", () =>
    Effect.gen(function*() {
      const connection = yield* WebSocketClient.connect("ws://anywhere/decided", { protocols: ["v2", "v1"] })
      assert.deepStrictEqual([connection.subprotocol, connection.responseHeaders["x-seat"]], ["v1", "7"])
    }).pipe(Effect.provide(inMemory(Routes))))

  it.effect("both ends consider a wss URL encrypted", () =>
    Effect.gen(function*() {
      const secure = Effect.gen(function*() {
        const { request, send } = yield* Connection.Connection
        yield* send(String(request.secure))
      })
      const connection = yield* Effect.provide(
        WebSocketClient.connect("wss://anywhere/", { headers: { Origin: "https://anywhere" } }).pipe(
          Effect.flatMap(({ receive }) => receive)
        ),
        inMemory(HttpRouter.add("GET", "/", WebSocketServer.upgrade(secure)))
      )
      assert.strictEqual(contentOf(connection), "true")
    }))

  it.effect("a keepalive of a route runs under the TestClock", () =>
    Effect.gen(function*() {
      const ended = yield* Deferred.make<string | undefined>()
      const watch = Effect.gen(function*() {
        const { closed } = yield* Connection.Connection
        yield* Deferred.succeed(ended, (yield* closed).cause?._tag)
      })
      const program = Effect.gen(function*() {
        yield* WebSocketClient.connect("ws://anywhere/")
        const [link] = yield* Effect.flatMap(Testing.Network, (network) => network.links)
        yield* link.blackhole
        yield* TestClock.adjust("1 minute")
        return yield* Deferred.await(ended)
      })
      const cause = yield* Effect.provide(
        program,
        inMemory(HttpRouter.add("GET", "/", WebSocketServer.upgrade(watch)))
      )
      assert.strictEqual(cause, "KeepaliveTimeout")
    }))

  it.effect("a decision that takes too long is answered with 503 under the TestClock", () =>
    Effect.gen(function*() {
      const rejecting = yield* Effect.forkChild(rejected("ws://anywhere/"))
      yield* Testing.settle
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(rejecting)).status, 503)
    }).pipe(Effect.provide(inMemory(HttpRouter.add(
      "GET",
      "/",
      WebSocketServer.upgrade(echo, { decide: () => Effect.never, handshakeTimeout: "5 seconds" })
    )))))
})

describe("raw handlers of an HttpApi", () => {
  const Api = HttpApi.make("api").add(
    HttpApiGroup.make("live").add(
      HttpApiEndpoint.get("feed", "/feed/:topic", { params: { topic: Schema.String } }),
      HttpApiEndpoint.get("topics", "/topics", { success: Schema.Array(Schema.String) })
    )
  )

  const Live = HttpApiBuilder.group(Api, "live", (handlers) =>
    handlers
      .handle("topics", () => Effect.succeed(["news"]))
      .handleRaw("feed", ({ params }) =>
        WebSocketServer.upgrade(Effect.gen(function*() {
          yield* (yield* Connection.Connection).send(`this is ${params.topic}`)
        }))))

  it.effect("a client connects to one, and requests another endpoint", () =>
    Effect.gen(function*() {
      const connection = yield* WebSocketClient.connect("ws://anywhere/feed/news")
      assert.strictEqual(contentOf(yield* connection.receive), "this is news")
      assert.strictEqual((yield* connection.closed).code, 1000)
      const topics = yield* Effect.flatMap(HttpClient.get("http://anywhere/topics"), ({ json }) => json)
      assert.deepStrictEqual(topics, ["news"])
    }).pipe(Effect.provide(inMemory(Layer.provide(HttpApiBuilder.layer(Api), Live)))))
})

describe("other requests to the application", () => {
  it.effect("the HttpClient gets responses with status, headers and body", () =>
    Effect.gen(function*() {
      const plain = yield* HttpClient.get("http://anywhere/plain?a=b")
      assert.deepStrictEqual([plain.status, yield* plain.text], [200, "plain"])
      const moved = yield* HttpClient.get("http://anywhere/moved")
      assert.deepStrictEqual([moved.status, moved.headers["location"]], [302, "/plain"])
      const upgrade = yield* HttpClient.get("http://anywhere/decided")
      assert.strictEqual(upgrade.status, 426)
    }).pipe(Effect.provide(inMemory(Routes))))

  it.effect("the HttpClient sends bodies, whole or as a stream", () =>
    Effect.gen(function*() {
      const client = yield* HttpClient.HttpClient
      const post = HttpClientRequest.post("http://anywhere/shout")
      const whole = yield* client.execute(HttpClientRequest.bodyText(post, "hello"))
      assert.strictEqual(yield* whole.text, "HELLO")
      const parts = Stream.fromIterable(["one ", "two"]).pipe(Stream.encodeText)
      const streamed = yield* client.execute(HttpClientRequest.bodyStream(post, parts))
      assert.strictEqual(yield* streamed.text, "ONE TWO")
    }).pipe(Effect.provide(inMemory(Routes))))

  it.effect("the program's own fetch client stays as it is", () =>
    Effect.gen(function*() {
      class Other extends Context.Service<Other, HttpClient.HttpClient>()("test/Other") {}
      const own = Layer.effect(Other)(HttpClient.HttpClient).pipe(
        Layer.provide(FetchHttpClient.layer),
        Layer.provide(Layer.succeed(FetchHttpClient.Fetch, () => Promise.resolve(new Response("elsewhere"))))
      )
      const bodies = yield* Effect.gen(function*() {
        const inside = yield* HttpClient.get("http://anywhere/plain")
        const outside = yield* (yield* Other).get("http://anywhere/plain")
        return [yield* inside.text, yield* outside.text]
      }).pipe(Effect.provide(Layer.merge(inMemory(Routes), own)))
      assert.deepStrictEqual(bodies, ["plain", "elsewhere"])
    }))
})

describe("the end of an application", () => {
  /** An application whose Scope the test closes. */
  const opened = Effect.gen(function*() {
    const scope = yield* Scope.make()
    const context = yield* Layer.buildWithScope(
      inMemory(HttpRouter.add("GET", "/", WebSocketServer.upgrade(echo))),
      scope
    )
    return { context, close: Scope.close(scope, Exit.void) }
  })

  it.effect("closes connections with 1001, and then refuses clients", () =>
    Effect.gen(function*() {
      const { close, context } = yield* opened
      const connection = yield* Effect.provideContext(WebSocketClient.connect("ws://anywhere/"), context)
      yield* close
      assert.strictEqual((yield* connection.closed).code, 1001)
      const refused = yield* Effect.flip(Effect.provideContext(WebSocketClient.connect("ws://anywhere/"), context))
      assert.deepInclude(refused, { _tag: "ConnectFailed", code: "ECONNREFUSED" })
    }))

  it.effect("cuts connections of unreachable clients after shutdownTimeout", () =>
    Effect.gen(function*() {
      const { close, context } = yield* opened
      yield* Effect.provideContext(WebSocketClient.connect("ws://anywhere/"), context)
      const [link] = yield* Context.get(context, Testing.Network).links
      yield* link.blackhole
      const closing = yield* Effect.forkChild(close)
      yield* Testing.settle
      assert.isUndefined(closing.pollUnsafe())
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(closing)
    }))

  it.effect("needs no application: any layer may use the Node server", () =>
    Effect.gen(function*() {
      const answering = (makeServer: () => Server) =>
        Layer.effectDiscard(Effect.acquireRelease(
          Effect.sync(() => makeServer().on("request", (_, response) => response.end("hello")).listen()),
          (server) => Effect.sync(() => server.close())
        ))
      const body = yield* Effect.flatMap(HttpClient.get("http://anywhere/"), ({ text }) => text).pipe(
        Effect.provide(Testing.layerHttpServer(answering))
      )
      assert.strictEqual(body, "hello")
    }))

  it.effect("ends handlers that sleep, although nothing adjusts the clock", () =>
    Effect.gen(function*() {
      const exits: Array<string> = []
      const sleeping = Effect.gen(function*() {
        yield* (yield* Connection.Connection).receive
        yield* Effect.sleep("1 hour").pipe(Effect.onExit((exit) => Effect.sync(() => exits.push(exit._tag))))
      })
      yield* Effect.flatMap(WebSocketClient.connect("ws://anywhere/"), ({ send }) => send("sleep")).pipe(
        Effect.andThen(Testing.settle),
        Effect.provide(inMemory(HttpRouter.add("GET", "/", WebSocketServer.upgrade(sleeping))))
      )
      assert.deepStrictEqual(exits, ["Failure"])
    }))

  it.effect("the address of the server is one for documentation", () =>
    Effect.gen(function*() {
      const { address } = yield* HttpServer.HttpServer
      assert.deepInclude(address, { port: 80 })
    }).pipe(Effect.provide(inMemory(Routes))))
})

describe("the links of an application", () => {
  it.effect("delay the responses to other requests", () =>
    Effect.gen(function*() {
      const requesting = yield* Effect.forkChild(HttpClient.get("http://anywhere/plain"))
      yield* Testing.settle
      yield* TestClock.adjust("59 seconds")
      yield* Testing.settle
      assert.isUndefined(requesting.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(requesting)).status, 200)
    }).pipe(Effect.provide(inMemory(Routes, { link: { toServer: { latency: "1 minute" } } }))))

  it.effect("can be so slow that a handshake times out", () =>
    Effect.gen(function*() {
      const connecting = yield* Effect.forkChild(Effect.flip(WebSocketClient.connect("ws://anywhere/decided")))
      yield* Testing.settle
      yield* TestClock.adjust("10 seconds")
      assert.deepInclude(yield* Fiber.join(connecting), { _tag: "HandshakeTimeout" })
    }).pipe(Effect.provide(inMemory(Routes, { link: { toServer: { latency: "1 minute" } } }))))
})
