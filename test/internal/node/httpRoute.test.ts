/** WebSocketServer.upgrade, leave and prepareServer in applications on NodeHttpServer. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Layer, Option, Ref, Schema, Stream, Tracer } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import {
  Connection,
  type ConnectionError,
  Frame,
  Handshake,
  PerMessageDeflate,
  WebSocketClient,
  WebSocketServer
} from "effect-ws"
import * as Http from "node:http"
import type { Duplex } from "node:stream"
import * as Http2 from "node:http2"
import * as Https from "node:https"
import type * as Net from "node:net"
import { WebSocketServer as WsServer } from "ws"
import { localhostTls } from "../../support/certificates.ts"
import { application } from "../../support/application.ts"
import { contentOf } from "../../support/memory.ts"
import { headEnd, rawConnect, requestText, splitHead } from "../../support/net.ts"
import { eventually } from "../../support/resources.ts"
import { connect, echo, idle } from "../../support/serving.ts"

/** A handler, and how its first connection ended. */
const watched = Effect.map(Deferred.make<ConnectionError.ConnectionClosed>(), (ended) => ({
  ended: Deferred.await(ended),
  handler: Effect.gen(function*() {
    const connection = yield* Connection.Connection
    yield* connection.send("ready")
    yield* Deferred.succeed(ended, yield* connection.closed)
  })
}))

const ws = <R>(handler: Effect.Effect<unknown, unknown, R>, options?: WebSocketServer.ServeOptions) =>
  HttpRouter.add("GET", "/ws", WebSocketServer.upgrade(handler, options))

const rejected = (url: string, options?: WebSocketClient.ConnectOptions) =>
  Effect.scoped(Effect.map(
    Effect.flip(connect(url, options)),
    (error) => error._tag === "HandshakeRejected" ? error : assert.fail(`${error._tag}: ${error.message}`)
  ))

const get = (port: number, path: string) =>
  Effect.promise(() => fetch(`http://127.0.0.1:${port}${path}`)).pipe(
    Effect.flatMap((response) =>
      Effect.map(
        Effect.promise(() => response.text()),
        (body) => ({ status: response.status, headers: response.headers, body })
      )
    )
  )

class User extends Context.Service<User, { readonly name: string }>()("test/User") {}

describe("a route", () => {
  it.live("serves connections beside other routes of the application", () =>
    Effect.gen(function*() {
      const { port, url } = yield* application(Layer.mergeAll(
        ws(echo, { protocols: ["v2"], extensions: [PerMessageDeflate.make()] }),
        HttpRouter.add("GET", "/plain", HttpServerResponse.text("plain"))
      ))
      const connection = yield* connect(`${url}/ws`, {
        protocols: ["v1", "v2"],
        extensions: [PerMessageDeflate.make()]
      })
      assert.strictEqual(connection.subprotocol, "v2")
      assert.deepStrictEqual(connection.extensions.map(({ name }) => name), ["permessage-deflate"])
      yield* connection.sendAll(["one", "x".repeat(100_000)])
      assert.strictEqual(contentOf(yield* connection.receive), "one")
      assert.strictEqual((yield* connection.receive).bytes.length, 100_000)
      assert.strictEqual((yield* get(port, "/plain")).body, "plain")
      assert.isTrue((yield* connection.close()).clean)
    }))

  it.live("provides path parameters and the services of middleware to the handler", () =>
    Effect.gen(function*() {
      const handler = Effect.gen(function*() {
        const connection = yield* Connection.Connection
        const { room } = yield* HttpRouter.params
        const { name } = yield* User
        const request = yield* HttpServerRequest.HttpServerRequest
        yield* connection.send(`${name} at ${room}, ${request.url}, ${connection.request.path}`)
      })
      const auth = HttpRouter.middleware<{ provides: User }>()(
        Effect.succeed((route) =>
          Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ headers }) =>
            headers["authorization"] === undefined
              ? Effect.succeed(HttpServerResponse.text("who are you?", { status: 401 }))
              : Effect.provideService(route, User, { name: headers["authorization"] }))
        )
      )
      const { url } = yield* application(
        HttpRouter.add("GET", "/rooms/:room", WebSocketServer.upgrade(handler)).pipe(Layer.provide(auth.layer))
      )
      const connection = yield* connect(`${url}/rooms/blue`, { headers: { authorization: "Ada" } })
      assert.strictEqual(contentOf(yield* connection.receive), "Ada at blue, /rooms/blue, /rooms/blue")
      const rejection = yield* rejected(`${url}/rooms/blue`)
      assert.deepStrictEqual([rejection.status, rejection.body], [401, "who are you?"])
    }))

  it.live("can decide in its own code before the upgrade, and with decide", () =>
    Effect.gen(function*() {
      const named = Effect.gen(function*() {
        yield* (yield* Connection.Connection).send((yield* User).name)
      })
      const upgrade = WebSocketServer.upgrade(named, {
        decide: (request) =>
          request.query.has("name")
            ? Effect.succeed(Handshake.accept({
              headers: { "X-Accepted": "yes" },
              services: Context.make(User, { name: request.query.get("name")! })
            }))
            : request.query.has("bytes")
            ? Effect.fail(Handshake.reject({ status: 402, body: Uint8Array.of(0x68, 0x69) }))
            : Effect.fail(Handshake.reject({ status: 402, headers: { "Set-Cookie": ["a=1", "b=2"] }, body: "no name" }))
      })
      const { port, url } = yield* application(HttpRouter.add("GET", "/ws", (request) =>
        request.url.includes("forbidden") ? Effect.succeed(HttpServerResponse.empty({ status: 403 })) : upgrade))
      const connection = yield* connect(`${url}/ws?name=Grace`)
      assert.strictEqual(connection.responseHeaders["x-accepted"], "yes")
      assert.strictEqual(contentOf(yield* connection.receive), "Grace")
      assert.strictEqual((yield* rejected(`${url}/ws?forbidden`)).status, 403)
      const rejection = yield* rejected(`${url}/ws`)
      assert.deepStrictEqual([rejection.status, rejection.body], [402, "no name"])
      assert.strictEqual((yield* rejected(`${url}/ws?bytes`)).body, "hi")
      const peer = yield* rawConnect(port)
      peer.write(requestText({}, "GET /ws HTTP/1.1"))
      const head = (yield* peer.ended).toString("latin1")
      assert.match(head, /set-cookie: a=1\r\n/i)
      assert.match(head, /set-cookie: b=2\r\n/i)
      assert.match(head, /connection: close\r\n/i)
    }))

  it.live("responds with what is wrong with a request", () =>
    Effect.gen(function*() {
      const { port, url } = yield* application(ws(echo))
      const plain = yield* get(port, "/ws")
      assert.deepStrictEqual([plain.status, plain.headers.get("upgrade")], [426, "websocket"])
      assert.match(plain.body, /Upgrade/)
      assert.strictEqual(
        (yield* rejected(`${url}/ws`, { headers: { Origin: "http://elsewhere.example" } })).status,
        403
      )
      const peer = yield* rawConnect(port)
      peer.write(requestText({ "Sec-WebSocket-Version": "8" }, "GET /ws HTTP/1.1"))
      const { head } = splitHead(yield* peer.until((received) => received.includes(headEnd)))
      assert.match(head, /^HTTP\/1.1 426 /)
      assert.match(head, /sec-websocket-version: 13/i)
      yield* peer.ended
    }))

  it.live("works in an HttpApi as a raw handler", () =>
    Effect.gen(function*() {
      const Api = HttpApi.make("api").add(
        HttpApiGroup.make("live").add(
          HttpApiEndpoint.get("feed", "/feed/:name", { params: { name: Schema.String } })
        )
      )
      const Live = HttpApiBuilder.group(Api, "live", (handlers) =>
        handlers.handleRaw("feed", ({ params }) =>
          WebSocketServer.upgrade(Effect.gen(function*() {
            const connection = yield* Connection.Connection
            yield* connection.send(params.name)
            yield* connection.closed
          }))))
      const { close, url } = yield* application(HttpApiBuilder.layer(Api).pipe(Layer.provide(Live)))
      const connection = yield* connect(`${url}/feed/news`)
      assert.strictEqual(contentOf(yield* connection.receive), "news")
      yield* Effect.forkScoped(close)
      assert.strictEqual((yield* connection.closed).code, 1001)
    }))

  it.live("shows a 101 response to the middleware of the application", () =>
    Effect.gen(function*() {
      const seen = yield* Deferred.make<number>()
      const middleware = HttpRouter.middleware(
        (route) => Effect.tap(route, ({ status }) => Deferred.succeed(seen, status)),
        { global: true }
      )
      const { url } = yield* application(Layer.merge(ws(echo), middleware))
      yield* connect(`${url}/ws`)
      assert.strictEqual(yield* Deferred.await(seen), 101)
    }))

  it.live("runs the handler in the span of the connection, a child of the request's span", () =>
    Effect.gen(function*() {
      const spans: Array<Tracer.Span> = []
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          spans.push(span)
          return span
        }
      })
      const handler = Effect.gen(function*() {
        const connection = yield* Connection.Connection
        const span = yield* Effect.currentParentSpan
        yield* connection.send(span.spanId)
      })
      const { url } = yield* application(ws(handler)).pipe(Effect.provideService(Tracer.Tracer, tracer))
      const connection = yield* connect(`${url}/ws`)
      const id = contentOf(yield* connection.receive)
      const own = spans.find(({ spanId }) => spanId === id)!
      assert.strictEqual(own.name, "websocket.connection")
      const span = Option.getOrThrow(own.parent) as Tracer.Span
      assert.strictEqual(span.attributes.get("http.route"), "/ws")
      assert.strictEqual(span.attributes.get("http.response.status_code"), 101)
    }))

  it.live("rejects a client over HTTP/2 with an explanation", () =>
    Effect.gen(function*() {
      const { port } = yield* application(ws(echo), () => Http2.createServer() as unknown as Http.Server)
      const status = yield* Effect.callback<number>((resume) => {
        const session = Http2.connect(`http://127.0.0.1:${port}`)
        const stream = session.request({ ":path": "/ws" })
        stream.on("response", (headers) => {
          session.close()
          resume(Effect.succeed(headers[":status"]!))
        })
        stream.resume()
      })
      assert.strictEqual(status, 405)
    }))

  it.live("works over TLS", () =>
    Effect.gen(function*() {
      const { cert, key } = localhostTls
      const { close, port } = yield* application(ws(echo), () => Https.createServer({ key, cert }) as Http.Server)
      const connection = yield* connect(`wss://localhost:${port}/ws`, { tls: { ca: cert } })
      yield* connection.send("secret")
      assert.strictEqual(contentOf(yield* connection.receive), "secret")
      yield* Effect.forkScoped(close)
      assert.strictEqual((yield* connection.closed).code, 1001)
    }))

  it.live("dies with an explanation on a platform without sockets", () =>
    Effect.gen(function*() {
      const { dispose, handler } = HttpRouter.toWebHandler(ws(echo), { disableLogger: true })
      const response = yield* Effect.promise(() => handler(new Request("http://localhost/ws")))
      assert.strictEqual(response.status, 500)
      yield* Effect.promise(() => dispose())
    }))
})

describe("data right after the request", () => {
  const early = (prepared: boolean) =>
    Effect.gen(function*() {
      const { port } = yield* application(
        ws(echo),
        prepared ? undefined : () => Http.createServer()
      )
      const peer = yield* rawConnect(port)
      peer.write(Buffer.concat([
        Buffer.from(requestText({}, "GET /ws HTTP/1.1")),
        Frame.encode(Frame.text("early"), 1)
      ]))
      yield* peer.until((received) => received.includes(headEnd))
      peer.write(Frame.encode(Frame.text("later"), 1))
      return splitHead(yield* peer.until((received) => received.includes("later"))).rest
    })

  it.live("reaches the handler on a prepared server", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(
        yield* early(true),
        Buffer.from([0x81, 5, ...Buffer.from("early"), 0x81, 5, ...Buffer.from("later")])
      )
    }))

  it.live("gets lost on a server that is not prepared", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* early(false), Buffer.from([0x81, 5, ...Buffer.from("later")]))
    }))

  it.live("a prepared server closes the socket of an upgrade behind a pending response", () =>
    Effect.gen(function*() {
      const { port } = yield* application(Layer.merge(HttpRouter.add("GET", "/never", Effect.never), ws(echo)))
      const peer = yield* rawConnect(port)
      peer.write("GET /never HTTP/1.1\r\nHost: a\r\n\r\n" + requestText({}, "GET /ws HTTP/1.1"))
      assert.strictEqual((yield* peer.ended).length, 0)
    }))

  it.live("a prepared server rejects with 503 while no application serves, and can be prepared twice", () =>
    Effect.gen(function*() {
      const server = WebSocketServer.prepareServer(WebSocketServer.prepareServer(Http.createServer()))
      assert.strictEqual(server.listenerCount("upgrade"), 1)
      yield* Effect.scoped(Effect.gen(function*() {
        const { port } = yield* Effect.acquireRelease(
          Effect.callback<{ readonly port: number }>((resume) => {
            server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server.address() as { readonly port: number })))
          }),
          () => Effect.callback<void>((resume) => void server.close(() => resume(Effect.void)))
        )
        assert.strictEqual((yield* rejected(`ws://127.0.0.1:${port}/`)).status, 503)
      }))
    }))
})

describe("a client that is reset", () => {
  it.live("interrupts the decision", () =>
    Effect.gen(function*() {
      const deciding = yield* Deferred.make<void>()
      const interrupted = yield* Deferred.make<void>()
      const { port, url } = yield* application(Layer.merge(
        HttpRouter.add(
          "GET",
          "/slow",
          WebSocketServer.upgrade(echo, {
            decide: () =>
              Deferred.succeed(deciding, undefined).pipe(
                Effect.andThen(Effect.never),
                Effect.onInterrupt(() => Deferred.succeed(interrupted, undefined))
              )
          })
        ),
        ws(echo)
      ))
      const peer = yield* rawConnect(port)
      peer.write(requestText({}, "GET /slow HTTP/1.1"))
      yield* Deferred.await(deciding)
      peer.socket.resetAndDestroy()
      yield* Deferred.await(interrupted)
      yield* connect(`${url}/ws`)
    }))

  it.live("gets no connection, nor does a client that has ended its side", () =>
    Effect.gen(function*() {
      const deciding = yield* Deferred.make<Net.Socket>()
      const decided = yield* Deferred.make<void>()
      const opened = yield* Ref.make(0)
      const upgrade = WebSocketServer.upgrade(Ref.update(opened, (n) => n + 1), {
        decide: () => Effect.as(Deferred.await(decided), Handshake.accept())
      })
      const { port } = yield* application(HttpRouter.add("GET", "/ws", (request) =>
        Effect.andThen(Deferred.succeed(deciding, (request.source as Http.IncomingMessage).socket), upgrade)))
      const peer = yield* rawConnect(port)
      peer.write(requestText({}, "GET /ws HTTP/1.1"))
      const socket = yield* Deferred.await(deciding)
      peer.socket.end()
      yield* eventually(() =>
        socket.readableEnded
      )
      yield* Deferred.succeed(decided, undefined)
      yield* peer.ended
      assert.strictEqual(yield* Ref.get(opened), 0)
    }))

  it.live("gets no connection if it is reset in the route's own code", () =>
    Effect.gen(function*() {
      const { handler } = yield* watched
      const opened = yield* Ref.make(0)
      const upgrade = WebSocketServer.upgrade(Effect.andThen(Ref.update(opened, (n) => n + 1), handler))
      const { port, url } = yield* application(HttpRouter.add("GET", "/ws", (request) => {
        if (request.url.includes("destroy")) (request.source as Http.IncomingMessage).socket.destroy()
        return upgrade
      }))
      const peer = yield* rawConnect(port)
      peer.write(requestText({}, "GET /ws?destroy HTTP/1.1"))
      assert.strictEqual((yield* peer.ended).length, 0)
      yield* connect(`${url}/ws`)
      assert.strictEqual(yield* Ref.get(opened), 1)
    }))

  it.live("affects no other connection and leaves no handler, after any part of the request and a message", () =>
    Effect.gen(function*() {
      const started = yield* Ref.make(0)
      const ends = yield* Ref.make<ReadonlyArray<string | undefined>>([])
      const { port, url } = yield* application(ws(Effect.gen(function*() {
        yield* Ref.update(started, (n) => n + 1)
        const connection = yield* Connection.Connection
        yield* Effect.exit(Stream.runForEach(connection.messages, connection.send))
        const { cause } = yield* connection.closed
        yield* Ref.update(ends, (all) => [...all, cause?._tag])
      })))
      const request = requestText({}, "GET /ws HTTP/1.1")
      const bytes = Buffer.concat([Buffer.from(request), Frame.encode(Frame.text("x".repeat(200)), 1)])
      for (let length = 0; length <= bytes.length; length += 7) {
        const peer = yield* rawConnect(port)
        peer.write(bytes.subarray(0, Math.min(length, request.length)))
        if (length > request.length) {
          yield* peer.until((received) => received.includes(headEnd))
          peer.write(bytes.subarray(request.length, length))
        }
        peer.socket.resetAndDestroy()
      }
      const connection = yield* connect(`${url}/ws`)
      yield* connection.send("still here")
      assert.strictEqual(contentOf(yield* connection.receive), "still here")
      yield* Effect.repeat(
        Effect.delay(Effect.all([Ref.get(started), Ref.get(ends)]), 1),
        { until: ([count, ended]) => ended.length === count - 1 }
      )
      for (const tag of yield* Ref.get(ends)) assert.include(["TransportError", "UnexpectedEof"], tag)
      assert.isAbove((yield* Ref.get(ends)).length, 20)
    }))

  for (const sent of [0, 1, 50]) {
    it.live(`ends its connection with a typed error, ${sent} bytes after the 101`, () =>
      Effect.gen(function*() {
        const { ended, handler } = yield* watched
        const { port } = yield* application(ws(handler))
        const peer = yield* rawConnect(port)
        peer.write(requestText({}, "GET /ws HTTP/1.1"))
        yield* peer.until((received) => received.includes("ready"))
        peer.write(Frame.encode(Frame.text("x".repeat(100)), 1).subarray(0, sent))
        peer.socket.resetAndDestroy()
        assert.include(["TransportError", "UnexpectedEof"], (yield* ended).cause?._tag)
      }))
  }
})

describe("another upgrade listener of the server", () => {
  /** Echoes at a path, and ignores all other sockets. */
  const listenAt = (path: string, server: Http.Server) => {
    const other = new WsServer({ noServer: true })
    server.on("upgrade", (request, socket, head) => {
      if (request.url !== path) return
      other.handleUpgrade(request, socket, head, (peer) => peer.on("message", (data) => peer.send(String(data))))
    })
  }
  const routes = Layer.mergeAll(ws(echo), HttpRouter.add("GET", "/hmr", WebSocketServer.leave))
  const echoes = Effect.fnUntraced(function*(url: string) {
    const connection = yield* connect(url)
    for (const text of ["one", "two"]) {
      yield* connection.send(text)
      assert.strictEqual(contentOf(yield* connection.receive), text)
    }
    return connection
  })

  for (const order of ["before", "after"]) {
    it.live(`gets the sockets that a route leaves to it, if it was added ${order} the application`, () =>
      Effect.gen(function*() {
        const server = WebSocketServer.prepareServer(Http.createServer())
        if (order === "before") listenAt("/hmr", server)
        const { close, port, url } = yield* application(routes, () => server)
        if (order === "after") listenAt("/hmr", server)
        const sockets: Array<Duplex> = []
        server.on("upgrade", (_, socket) => sockets.push(socket))
        const theirs = yield* echoes(`${url}/hmr`)
        // Nothing of the application watches the socket.
        assert.deepStrictEqual(sockets.map((socket) => socket.listenerCount("finish")), [0])
        yield* echoes(`${url}/ws`)
        assert.strictEqual((yield* get(port, "/hmr")).status, 426)
        // The application closes its own connections, and waits for those of the listener.
        const closing = yield* Effect.forkScoped(close)
        yield* Effect.repeat(Effect.yieldNow, { while: () => server.listening })
        yield* theirs.send("still")
        assert.strictEqual(contentOf(yield* theirs.receive), "still")
        assert.isTrue((yield* theirs.close()).clean)
        yield* Fiber.join(closing)
      }))
  }
})

describe("an application that closes", () => {
  it.live("closes its connections with 1001 immediately, and waits for their handlers", () =>
    Effect.gen(function*() {
      const finished = yield* Ref.make(0)
      const { close, url } = yield* application(
        ws(Effect.ensuring(idle, Effect.andThen(Effect.sleep(20), Ref.update(finished, (n) => n + 1))))
      )
      const connections = yield* Effect.all(Array.from({ length: 10 }, () => connect(`${url}/ws`)))
      const took = yield* close
      assert.strictEqual(yield* Ref.get(finished), 10)
      for (const connection of connections) {
        const end = yield* connection.closed
        assert.deepStrictEqual([end.code, end.clean, end.closedBy], [1001, true, "remote"])
      }
      assert.isBelow(took, 2000)
    }))

  it.live("closes with shutdownClose, and destroys sockets after shutdownTimeout", () =>
    Effect.gen(function*() {
      const { close, port } = yield* application(
        ws(Effect.never, { shutdownClose: { code: 4000, reason: "bye" }, shutdownTimeout: 50 })
      )
      // A peer that never replies to the close frame.
      const peer = yield* rawConnect(port)
      peer.write(requestText({}, "GET /ws HTTP/1.1"))
      yield* peer.until((received) => received.includes(headEnd))
      const took = yield* close
      const { rest } = splitHead(yield* peer.ended)
      assert.deepStrictEqual(rest, Buffer.from([0x88, 5, 0x0f, 0xa0, ...Buffer.from("bye")]))
      assert.isBelow(took, 5000)
    }))

  it.live("rejects a request without a decision", () =>
    Effect.gen(function*() {
      const deciding = yield* Deferred.make<void>()
      const proceed = yield* Deferred.make<void>()
      const server = WebSocketServer.prepareServer(Http.createServer())
      const { close, url } = yield* application(
        HttpRouter.add(
          "GET",
          "/ws",
          WebSocketServer.upgrade(echo, {
            decide: () =>
              Effect.as(
                Effect.andThen(Deferred.succeed(deciding, undefined), Deferred.await(proceed)),
                Handshake.accept()
              )
          })
        ),
        () => server
      )
      const client = yield* Effect.forkScoped(rejected(`${url}/ws`))
      yield* Deferred.await(deciding)
      const closing = yield* Effect.forkScoped(close)
      yield* Effect.repeat(Effect.yieldNow, { while: () => server.listening })
      yield* Deferred.succeed(proceed, undefined)
      assert.strictEqual((yield* Fiber.join(client)).status, 503)
      yield* Fiber.join(closing)
    }))
})
