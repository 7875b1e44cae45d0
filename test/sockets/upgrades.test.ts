/** Sockets of upgrade requests, from the request until they are closed, on servers of this library and on routes. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Layer, Logger, Ref, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import { HttpRouter, HttpServer, HttpServerResponse } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { Frame, Handshake, WebSocketClient, WebSocketServer } from "effect-ws"
import { readdirSync } from "node:fs"
import * as Http from "node:http"
import * as Https from "node:https"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Duplex } from "node:stream"
import * as Tls from "node:tls"
import { localhostTls as tls } from "../support/certificates.ts"
import { type Application, application, serveApplication } from "../support/application.ts"
import {
  headEnd,
  rawConnect,
  type RawSocket,
  rawSocket,
  requestText,
  serve,
  socketPair,
  splitHead
} from "../support/net.ts"
import { eventually, openSockets } from "../support/resources.ts"
import { type Options, ways } from "../support/serverKinds.ts"
import { echo, idle } from "../support/serving.ts"

// -- servers that respond to upgrade requests in each way --------------------------

const late = Effect.delay(Effect.succeed(HttpServerResponse.text("late", { status: 403 })), 20)

const middleware = HttpRouter.middleware(
  (route) => Effect.succeed(HttpServerResponse.empty({ status: 401 })) as typeof route,
  { global: true }
)

const rejecting = () => Effect.succeed(Handshake.reject({ status: 401, body: "no" }))
const rejectingLate = () => Effect.delay(rejecting(), 20)

const route = (options: Options) => HttpRouter.add("GET", "/", WebSocketServer.upgrade(idle, options))

const apiRoute = (options: Options) => {
  const Api = HttpApi.make("api").add(
    HttpApiGroup.make("live").add(HttpApiEndpoint.get("feed", "/", { success: Schema.Void }))
  )
  const Live = HttpApiBuilder.group(
    Api,
    "live",
    (handlers) => handlers.handleRaw("feed", () => WebSocketServer.upgrade(idle, options))
  )
  return HttpApiBuilder.layer(Api).pipe(Layer.provide(Live))
}

const app = <E>(effect: Effect.Effect<HttpServerResponse.HttpServerResponse, E, any>) =>
  serveApplication(HttpServer.serve(effect as Effect.Effect<HttpServerResponse.HttpServerResponse, E>))

type Answering = Effect.Effect<Pick<Application, "port">, unknown, Scope.Scope>

const rejections: Readonly<Record<string, Answering>> = {
  "a server that rejects": serve(idle, { serve: { decide: rejecting } }),
  "a server that rejects late": serve(idle, { serve: { decide: rejectingLate } }),
  "a server that decides too late": serve(idle, { handshakeTimeout: 20, serve: { decide: () => Effect.never } }),
  "a server that has no place": serve(idle, { serve: { maxConnections: 0 } }),
  "a route that rejects": application(route({ decide: rejecting })),
  "a route that rejects late": application(route({ decide: rejectingLate })),
  "a route that decides too late": application(route({ handshakeTimeout: 20, decide: () => Effect.never })),
  "a route that has no place": application(route({ maxConnections: 0 })),
  "a route whose decision dies": Effect.provideService(
    application(route({ decide: () => Effect.die("decide") })),
    Logger.CurrentLoggers,
    new Set()
  ),
  "a route whose decision is interrupted": application(route({ decide: () => Effect.delay(Effect.interrupt, 20) })),
  "a route that gets a wrong version": application(route({ origin: [] })),
  "a route behind middleware that answers": application(Layer.merge(route({}), middleware)),
  "a route within a timeout": application(
    HttpRouter.add(
      "GET",
      "/",
      Effect.timeoutOrElse(WebSocketServer.upgrade(idle, { decide: () => Effect.never }), {
        duration: 20,
        orElse: () => Effect.succeed(HttpServerResponse.empty({ status: 504 }))
      })
    )
  ),
  "a route that is made for each request": application(
    HttpRouter.add("GET", "/", () => WebSocketServer.upgrade(idle, { decide: rejectingLate }))
  ),
  "a route on a server that is not prepared": application(route({ decide: rejectingLate }), () => Http.createServer()),
  "a raw handler of an HttpApi": application(apiRoute({ decide: rejectingLate })),
  "a plain application": app(WebSocketServer.upgrade(idle, { decide: rejectingLate })),
  "an ordinary route": application(HttpRouter.add("GET", "/", HttpServerResponse.text("hello"))),
  "an ordinary route that answers late": application(HttpRouter.add("GET", "/", late)),
  "an ordinary route that dies": application(HttpRouter.add("GET", "/", Effect.delay(Effect.die("route"), 20))),
  "an application that has no such route": application(HttpRouter.add("GET", "/elsewhere", late)),
  "a plain application that answers late": app(late)
}

// -- clients that leave in each way ------------------------------------------------

const waysToLeave: Readonly<Record<string, (socket: Net.Socket) => void>> = {
  "ends its side": (socket) => socket.end(),
  "is reset": (socket) => socket.resetAndDestroy(),
  "reads the response to its end": () => {}
}

/** Requests an upgrade, sends `more` bytes after a while, and leaves. Suspends until the socket is closed. */
const visit = (port: number, more: number, leave: (socket: Net.Socket) => void) =>
  new Promise<void>((resolve) => {
    const socket = Net.connect({ port, host: "127.0.0.1" })
    socket.on("error", () => {})
    socket.on("close", () => resolve())
    socket.on("data", () => {})
    socket.write(requestText({ Origin: "http://127.0.0.1" }))
    setTimeout(() => {
      if (more > 0) socket.write(Buffer.alloc(more))
      setTimeout(() => leave(socket), 5)
    }, 5)
  })

const descriptors = () => process.platform === "linux" ? readdirSync("/proc/self/fd").length : 0

describe("a rejected upgrade leaves no socket", () => {
  for (const [name, answering] of Object.entries(rejections)) {
    it.live(name, () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const { port } = yield* Scope.provide(answering, scope)
        const [sockets, files] = [openSockets(), descriptors()]
        const visits = Object.values(waysToLeave).flatMap((leave) =>
          [0, 1, 100, 100_000].flatMap((more) => Array.from({ length: 5 }, () => visit(port, more, leave)))
        )
        yield* Effect.promise(() => Promise.all(visits))
        yield* eventually(() => openSockets() <= sockets && descriptors() <= files)
        // Closing the server waits for its sockets.
        yield* Scope.close(scope, yield* Effect.exit(Effect.void))
      }), 15_000)
  }

  it.live("closes the socket of a client that stays, after closeTimeout", () =>
    Effect.gen(function*() {
      for (const [name, way] of Object.entries(ways)) {
        const port = yield* way(idle, { decide: rejectingLate, closeTimeout: 50 })
        const peer = yield* rawConnect(port)
        const sockets = openSockets()
        peer.write(requestText())
        yield* peer.until((received) => received.includes("no"))
        yield* eventually(() => openSockets() < sockets)
        assert.match(peer.received().toString(), /^HTTP\/1.1 401 /, name)
      }
    }))
})

// -- while a request is decided -------------------------------------------------------

for (const [name, way] of Object.entries(ways)) {
  describe(`a decision of ${name}`, () => {
    const pending = Effect.gen(function*() {
      const deciding = yield* Deferred.make<void>()
      const answer = yield* Deferred.make<Handshake.Decision>()
      const interrupted = yield* Deferred.make<void>()
      const handled = yield* Ref.make(0)
      const port = yield* way(Effect.andThen(Ref.update(handled, (n) => n + 1), echo), {
        decide: () =>
          Effect.andThen(Deferred.succeed(deciding, undefined), Deferred.await(answer)).pipe(
            Effect.onInterrupt(() => Deferred.succeed(interrupted, undefined))
          )
      })
      const peer = yield* rawConnect(port)
      peer.write(requestText())
      yield* Deferred.await(deciding)
      return { answer, handled, interrupted: Deferred.await(interrupted), peer }
    })

    for (const more of [0, 1, 100, 100_000, 200_000]) {
      for (const how of ["ends its side", "is reset"]) {
        it.live(`stops when the client ${how} after ${more} bytes`, () =>
          Effect.gen(function*() {
            const { handled, interrupted, peer } = yield* pending
            peer.write(Buffer.alloc(more))
            yield* eventually(() => peer.socket.writableLength === 0)
            waysToLeave[how](peer.socket)
            yield* interrupted
            assert.strictEqual(yield* Ref.get(handled), 0)
          }))
      }
    }

    it.live("keeps data that the client sends meanwhile, and delivers it before later data", () =>
      Effect.gen(function*() {
        const { answer, peer } = yield* pending
        const texts = Array.from({ length: 100 }, (_, i) => `${i} `.padEnd(1000, "early "))
        for (const text of texts) peer.write(Frame.encode(Frame.text(text), 7))
        yield* eventually(() => peer.socket.writableLength === 0)
        yield* Deferred.succeed(answer, Handshake.accept())
        yield* peer.until((received) => received.includes(headEnd))
        peer.write(Frame.encode(Frame.text("later"), 7))
        const { rest } = splitHead(yield* peer.until((received) => received.includes("later")))
        const { frames } = Frame.makeDecoder({ role: "client", maxFrameSize: 2000 }).decode(rest)
        assert.deepStrictEqual(frames.map(({ payload }) => Buffer.from(payload).toString()), [...texts, "later"])
      }))

    it.live("stops, and the socket is destroyed, when the client sends more than 256 KiB", () =>
      Effect.gen(function*() {
        const { handled, interrupted, peer } = yield* pending
        peer.write(Buffer.alloc(300 * 1024))
        yield* interrupted
        yield* peer.ended
        assert.strictEqual(yield* Ref.get(handled), 0)
      }))
  })
}

it.live("a request to a route without a decision gets 503 when the application closes", () =>
  Effect.gen(function*() {
    const deciding = yield* Deferred.make<void>()
    const decide = () => Effect.andThen(Deferred.succeed(deciding, undefined), Effect.never)
    const { close, port } = yield* application(route({ decide, handshakeTimeout: "1 hour" }))
    const peer = yield* rawConnect(port)
    peer.write(requestText())
    yield* Deferred.await(deciding)
    yield* close
    const head = (yield* peer.ended).toString("latin1")
    assert.match(head, /^HTTP\/1.1 503 /)
    assert.match(head, /retry-after: /i)
  }))

// -- after a rejection ---------------------------------------------------------

describe.concurrent("a long rejection", () => {
  const { cert, key } = tls
  const body = "x".repeat(300 * 1024)
  const decide = () => Effect.succeed(Handshake.reject({ status: 403, body }))
  const secure: Readonly<Record<string, Answering>> = {
    "a server": serve(idle, { tls: { key, cert }, serve: { decide } }),
    "a route": application(
      route({ decide }),
      () => WebSocketServer.prepareServer(Https.createServer({ key, cert })) as Http.Server
    )
  }
  for (const [name, answering] of Object.entries(secure)) {
    it.live(`reaches a client that reads slowly and keeps writing: ${name}`, () =>
      Effect.gen(function*() {
        const { port } = yield* answering
        const read = yield* Effect.callback<number>((resume) => {
          const socket = Tls.connect({ port, host: "127.0.0.1", ca: cert, checkServerIdentity: () => undefined })
          let bytes = 0
          socket.on("error", () => {})
          socket.on("close", () => resume(Effect.succeed(bytes)))
          socket.write(requestText())
          const writing = setInterval(() => socket.writable && socket.write(Buffer.alloc(1000)), 5)
          const reading = setInterval(() => {
            const chunk = socket.read(Math.min(5000, socket.readableLength)) as Buffer | null
            bytes += chunk?.length ?? 0
          }, 10)
          socket.on("end", () => socket.end())
          return Effect.sync(() => {
            clearInterval(writing)
            clearInterval(reading)
            socket.destroy()
          })
        })
        assert.isAbove(read, body.length)
      }), 15_000)
  }
})

// -- incomplete requests --------------------------------------------------------------

describe("an incomplete request is closed after handshakeTimeout", () => {
  const connect = (path: string) =>
    Effect.map(
      Effect.acquireRelease(
        Effect.callback<Net.Socket>((resume) => {
          const socket = Net.connect({ path }, () => resume(Effect.succeed(socket)))
        }),
        (socket) => Effect.sync(() => socket.destroy())
      ),
      rawSocket
    )
  /** Writes a part of a request, and suspends until the server waits for the rest. */
  const begin = (peer: RawSocket, server: WebSocketServer.WebSocketServer, text: string) =>
    Effect.andThen(
      Effect.sync(() => peer.write(text)),
      Effect.scoped(WebSocketClient.connect(server.url, {
        ...server.address._tag === "Unix" ? { socketPath: server.address.path } : {},
        tls: { ca: tls.cert },
        keepalive: false,
        closeTimeout: 0
      }))
    )
  const isCut = (peer: RawSocket) =>
    Effect.gen(function*() {
      yield* TestClock.adjust(9999)
      assert.isFalse(peer.socket.readableEnded)
      yield* TestClock.adjust(1)
      yield* peer.ended
    })

  for (const secure of [false, true]) {
    it.effect(`on a Unix socket${secure ? ", over TLS" : ""}`, () =>
      Effect.gen(function*() {
        const socketPath = join(tmpdir(), `effect-ws-${process.pid}-${secure}.sock`)
        const server = yield* serve(echo, { socketPath, ...secure ? { tls } : {} })
        const peer = yield* connect(socketPath)
        yield* begin(peer, server, secure ? "" : "GET / HTT")
        yield* isCut(peer)
        assert.match(peer.received().toString(), secure ? /^$/ : /^HTTP\/1.1 408 /)
      }))
  }

  it.effect("on a stream given to accept", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo)
      const [client, accepted] = yield* socketPair
      const pair = new Duplex({
        read: () => {},
        write: (chunk, _, callback) => void accepted.write(chunk, callback)
      })
      accepted.on("data", (chunk) => pair.push(chunk))
      pair.on("close", () => accepted.destroy())
      yield* server.accept(pair)
      const peer = rawSocket(client)
      yield* begin(peer, server, "GET / HTT")
      yield* isCut(peer)
    }))

  it.effect("after a request with a response", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { onRequest: (_, response) => response.end("plain") })
      const peer = yield* rawConnect(server.port)
      peer.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      yield* peer.until((received) => received.includes("plain"))
      yield* TestClock.adjust("5 seconds")
      yield* begin(peer, server, "GET / HTT")
      yield* TestClock.adjust("10 seconds")
      yield* peer.ended
      assert.include(peer.received().toString(), "HTTP/1.1 408 ")
    }))
})

// -- a blocked process -------------------------------------------------------------

const block = (millis: number) =>
  Effect.sync(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, millis))

describe("time during which the process was blocked", () => {
  const accepting = { decide: () => Effect.delay(Effect.succeed(Handshake.accept()), 1) }
  const status = (peer: RawSocket) =>
    Effect.map(peer.until((received) => received.includes(headEnd)), (received) => received.toString().split(" ")[1])

  it.live("does not count toward the timeout of a request that waited in the kernel", () =>
    Effect.gen(function*() {
      const server = yield* serve(idle, { handshakeTimeout: 200, serve: accepting })
      const peer = yield* rawConnect(server.port)
      // The server accepts connections in order: once a later one is open, it has accepted this one.
      yield* Effect.scoped(WebSocketClient.connect(server.url))
      peer.write(requestText())
      yield* block(900)
      assert.strictEqual(yield* status(peer), "101")
    }))

  it.live("does not count toward the timeout of a second request on a socket", () =>
    Effect.gen(function*() {
      const server = yield* serve(idle, {
        handshakeTimeout: 200,
        serve: accepting,
        onRequest: (_, response) => response.end("plain")
      })
      const peer = yield* rawConnect(server.port)
      peer.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      yield* peer.until((received) => received.includes("plain"))
      peer.write(requestText())
      yield* block(900)
      yield* peer.until((received) => received.includes("HTTP/1.1 101 "))
    }))

  it.live("does not count toward the timeout of a client in a TLS handshake", () =>
    Effect.gen(function*() {
      const server = yield* serve(idle, { handshakeTimeout: 400, tls, serve: accepting })
      const relayed = yield* rawConnect(server.port)
      // The start of a handshake of several round trips.
      const client = Tls.connect({ socket: relayed.socket, ca: tls.cert, servername: "localhost" })
      yield* Effect.addFinalizer(() => Effect.sync(() => client.destroy()))
      const peer = rawSocket(client)
      yield* block(900)
      peer.write(requestText())
      assert.strictEqual(yield* status(peer), "101")
    }))

  it.live("does not count toward the timeout of a decision", () =>
    Effect.gen(function*() {
      const peers = yield* Effect.forEach(Object.entries(ways), ([name, way]) =>
        Effect.gen(function*() {
          const deciding = yield* Deferred.make<void>()
          const port = yield* way(idle, {
            handshakeTimeout: 200,
            decide: () =>
              Deferred.succeed(deciding, undefined).pipe(
                Effect.andThen(Effect.sleep(100)),
                // The response of a database, which is in the kernel when the timeout has passed.
                Effect.andThen(Effect.sleep(10)),
                Effect.as(Handshake.accept())
              )
          })
          const peer = yield* rawConnect(port)
          return { name, peer, deciding: Deferred.await(deciding) }
        }))
      for (const { peer } of peers) peer.write(requestText())
      yield* Effect.forEach(peers, ({ deciding }) => deciding)
      yield* Effect.sleep(1)
      yield* block(500)
      for (const { name, peer } of peers) assert.strictEqual(yield* status(peer), "101", name)
    }))
})
