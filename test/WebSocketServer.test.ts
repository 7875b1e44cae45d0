import { assert, describe, it } from "@effect/vitest"
import {
  Config,
  ConfigProvider,
  Context,
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  Schema,
  Scope,
  Stream,
  Tracer
} from "effect"
import {
  Connection,
  type ConnectionError,
  Frame,
  Handshake,
  type HandshakeError,
  Message,
  TypedConnection,
  WebSocketClient,
  WebSocketServer
} from "effect-ws"
import { TestClock } from "effect/testing"
import { createPrivateKey } from "node:crypto"
import { readFileSync } from "node:fs"
import { mkdtempSync, rmSync } from "node:fs"
import * as Http from "node:http"
import type * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Duplex } from "node:stream"
import { contentOf, settle } from "./support/memory.ts"
import { headEnd, rawConnect, rawHandshake, requestText, sampleKey, serve, splitHead } from "./support/net.ts"
import { eventually } from "./support/resources.ts"

const certificates = new URL("support/certificates/", import.meta.url)
const key = readFileSync(new URL("localhost.key", certificates), "utf8")
const cert = readFileSync(new URL("localhost.crt", certificates), "utf8")

const echo = Effect.gen(function*() {
  const connection = yield* Connection.Connection
  yield* Stream.runForEach(connection.messages, connection.send)
})

/** Stays until its connection is gone. */
const idle = Effect.flatMap(Connection.Connection, (connection) => connection.closed)

const connect = (url: string, options?: WebSocketClient.ConnectOptions) =>
  WebSocketClient.connect(url, { keepalive: false, ...options })

const textOf = (message: Message.Message) => String(contentOf(message))

/** The status with which a server answers a request. */
const statusOf = (port: number, request: string) =>
  Effect.scoped(Effect.gen(function*() {
    const peer = yield* rawConnect(port)
    peer.write(request)
    const response = (yield* peer.ended).toString("latin1")
    return Number(response.split(" ")[1])
  }))

describe("the handshake over TCP (RFC 6455 §4.2)", () => {
  it.live("answers with what the RFC says, and nothing else", () =>
    Effect.gen(function*() {
      const server = yield* serve(idle)
      const { head } = yield* rawHandshake(server.port)
      assert.deepStrictEqual(head.split("\r\n"), [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
      ])
    }))

  it.live("takes a request that comes byte by byte, and frames right behind it", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo)
      const slow = yield* rawConnect(server.port)
      for (const character of requestText()) {
        slow.write(character)
        yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      }
      yield* slow.until((received) => received.includes(headEnd))

      const eager = yield* rawConnect(server.port)
      eager.write(Buffer.concat([Buffer.from(requestText()), Frame.encode(Frame.text("early"), 1)]))
      const { rest } = splitHead(yield* eager.until((received) => received.includes("early")))
      assert.deepStrictEqual(rest, Buffer.from([0x81, 5, ...Buffer.from("early")]))
    }))

  it.live("answers a Connection header with a tab at its end, whether Node takes it for an upgrade or not", () =>
    Effect.gen(function*() {
      const server = yield* serve(idle)
      const peer = yield* rawConnect(server.port)
      peer.write(requestText({ Connection: "Upgrade\t" }))
      const { head } = splitHead(yield* peer.until((received) => received.includes(headEnd)))
      assert.match(head, /^HTTP\/1.1 (101|400) /)
    }))

  const malformed: ReadonlyArray<readonly [string, string, number]> = [
    ["a POST", requestText({ "Content-Length": "0" }, "POST / HTTP/1.1"), 405],
    ["HTTP/1.0", requestText({}, "GET / HTTP/1.0"), 505],
    ["no Upgrade", requestText({ Upgrade: undefined }), 426],
    ["another Upgrade", requestText({ Upgrade: "h2c" }), 426],
    ["no Connection", requestText({ Connection: undefined }), 400],
    ["another Connection", requestText({ Connection: "keep-alive" }), 400],
    ["a body", requestText({ "Content-Length": "5" }) + "hello", 400],
    ["a body in chunks", requestText({ "Transfer-Encoding": "chunked" }) + "0\r\n\r\n", 400],
    ["no key", requestText({ "Sec-WebSocket-Key": undefined }), 400],
    ["a key that is too short", requestText({ "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25j" }), 400],
    ["no version", requestText({ "Sec-WebSocket-Version": undefined }), 400],
    ["another version", requestText({ "Sec-WebSocket-Version": "8" }), 426],
    ["no Host", requestText({ Host: undefined }), 400],
    ["a subprotocol that is no token", requestText({ "Sec-WebSocket-Protocol": "a b" }), 400],
    ["a subprotocol twice", requestText({ "Sec-WebSocket-Protocol": "a, a" }), 400],
    ["extensions that are none", requestText({ "Sec-WebSocket-Extensions": "a; =1" }), 400],
    ["an unclosed quote", requestText({ "Sec-WebSocket-Extensions": "a; b=\"" + "\\".repeat(10_000) }), 400],
    ["headers over the limit", requestText({ "X-Filler": "x".repeat(20_000) }), 431],
    ["a page of another origin", requestText({ Origin: "http://elsewhere.example" }), 403]
  ]
  for (const [name, request, status] of malformed) {
    it.live(`${name}: ${status}`, () =>
      Effect.gen(function*() {
        const server = yield* serve(idle)
        assert.strictEqual(yield* statusOf(server.port, request), status)
        assert.deepStrictEqual(yield* server.connections, [])
      }))
  }

  it.live("so many headers that Node drops Upgrade: refused, not a crash (CVE-2024-37890)", () =>
    Effect.gen(function*() {
      const server = yield* serve(idle, { maxHeaderSize: 1024 * 1024 })
      const many = Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`X-${i}`, "1"]))
      const text = requestText({ ...many, Upgrade: undefined, Connection: undefined }).slice(0, -2) +
        "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
      assert.strictEqual(yield* statusOf(server.port, text), 431)
      yield* rawHandshake(server.port)
    }))

  it.live("a plain GET gets 426 and is told why, or what onRequest says", () =>
    Effect.gen(function*() {
      const plain = yield* serve(idle)
      const response = yield* Effect.promise(() => fetch(`http://127.0.0.1:${plain.port}/`))
      assert.strictEqual(response.status, 426)
      assert.strictEqual(response.headers.get("upgrade"), "websocket")
      assert.match(yield* Effect.promise(() => response.text()), /Upgrade header: expected "websocket", got none/)

      const withPage = yield* serve(echo, { onRequest: (_request, answer) => answer.end("a page") })
      const page = yield* Effect.promise(() => fetch(`http://127.0.0.1:${withPage.port}/`))
      assert.strictEqual(yield* Effect.promise(() => page.text()), "a page")
      const connection = yield* connect(withPage.url)
      yield* connection.send("and a socket")
      assert.strictEqual(textOf(yield* connection.receive), "and a socket")
    }))

  it.live("is cut where a request before it waits for its response, which would come among frames", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { onRequest: () => {} })
      for (const before of [1, 2]) {
        const peer = yield* rawConnect(server.port)
        peer.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(before) + requestText())
        assert.strictEqual((yield* peer.ended).length, 0)
        assert.deepStrictEqual(yield* server.connections, [])
      }
    }))

  it.live("may follow a request that has its response", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { onRequest: (_request, response) => response.end("ok") })
      const peer = yield* rawConnect(server.port)
      peer.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      yield* peer.until((received) => received.toString().endsWith("ok"))
      peer.write(requestText())
      yield* peer.until((received) => received.toString().includes("HTTP/1.1 101"))
    }))

  it.live("path: others get 404", () =>
    Effect.gen(function*() {
      const server = yield* serve(idle, { path: "/chat" })
      assert.strictEqual(yield* statusOf(server.port, requestText({}, "GET /other HTTP/1.1")), 404)
      const connection = yield* connect(`${server.url}?room=1`)
      assert.strictEqual(connection.request.path, "/chat")
      assert.strictEqual(connection.request.query.get("room"), "1")
    }))

  it.live("origin: the same by default, a list, or any", () =>
    Effect.gen(function*() {
      const own = yield* serve(idle)
      yield* connect(own.url)
      yield* connect(own.url, { headers: { Origin: `http://127.0.0.1:${own.port}` } })
      const refused = yield* Effect.flip(connect(own.url, { headers: { Origin: "http://evil.example" } }))
      assert.strictEqual((refused as HandshakeError.HandshakeRejected).status, 403)

      const listed = yield* serve(idle, { serve: { origin: ["https://app.example"] } })
      yield* connect(listed.url, { headers: { Origin: "https://app.example" } })
      yield* Effect.flip(connect(listed.url, { headers: { Origin: `http://127.0.0.1:${listed.port}` } }))

      const open = yield* serve(idle, { serve: { origin: "any" } })
      yield* connect(open.url, { headers: { Origin: "http://anything.example" } })
    }))

  it.live("protocols: the first of the server's that the client offers", () =>
    Effect.gen(function*() {
      const server = yield* serve(idle, { serve: { protocols: ["v2", "v1"] } })
      const both = yield* connect(server.url, { protocols: ["v1", "v2"] })
      assert.strictEqual(both.subprotocol, "v2")
      const none = yield* connect(server.url, { protocols: ["v9"] })
      assert.isUndefined(none.subprotocol)
      assert.deepStrictEqual((yield* server.connections).map((connection) => connection.subprotocol), ["v2", undefined])
    }))
})

describe("the decision", () => {
  class User extends Context.Service<User, { readonly name: string }>()("test/User") {}

  it.live("accepts with headers, a subprotocol, and services for the handler", () =>
    Effect.gen(function*() {
      const server = yield* WebSocketServer.make({ host: "127.0.0.1" })
      yield* server.serve(
        Effect.gen(function*() {
          const user = yield* User
          const connection = yield* Connection.Connection
          yield* connection.send(`hello ${user.name}`)
          yield* connection.closed
        }),
        {
          decide: (request) =>
            Effect.succeed(Handshake.accept({
              protocol: request.protocols[1],
              headers: { "Set-Cookie": ["a=1", "b=2"] },
              services: Context.make(User, { name: request.headers["x-name"] })
            }))
        }
      )
      const connection = yield* connect(server.url, { protocols: ["a", "b"], headers: { "X-Name": "Ada" } })
      assert.strictEqual(textOf(yield* connection.receive), "hello Ada")
      assert.strictEqual(connection.subprotocol, "b")
      assert.strictEqual(connection.responseHeaders["set-cookie"], "a=1, b=2")
    }))

  it.live("rejects with a status that has no name", () =>
    Effect.gen(function*() {
      const decide = () => Effect.succeed(Handshake.reject({ status: 499 }))
      const server = yield* serve(idle, { serve: { decide } })
      assert.strictEqual(yield* statusOf(server.port, requestText()), 499)
    }))

  it.live("rejects with status, headers and body, returned or failed with", () =>
    Effect.gen(function*() {
      const reject = Handshake.reject({ status: 401, headers: { "WWW-Authenticate": "Bearer" }, body: "who are you?" })
      for (const decide of [() => Effect.succeed(reject), () => Effect.fail(reject)]) {
        const server = yield* serve(idle, { serve: { decide } })
        const error = yield* Effect.flip(connect(server.url))
        assert.strictEqual(error._tag, "HandshakeRejected")
        const { body, headers, status } = error as HandshakeError.HandshakeRejected
        assert.deepStrictEqual([status, headers["www-authenticate"], body], [401, "Bearer", "who are you?"])
      }
    }))

  it.live("may take its time, and need services of its own", () =>
    Effect.gen(function*() {
      const server = yield* WebSocketServer.make({ host: "127.0.0.1" })
      yield* server.serve(idle, {
        decide: () =>
          Effect.delay(
            Effect.map(User, (user) => user.name === "Ada" ? Handshake.accept() : Handshake.reject({ status: 403 })),
            "10 millis"
          )
      }).pipe(Effect.provideService(User, { name: "Ada" }))
      yield* connect(server.url)
    }))

  it.live("that dies, or cannot be written, is a 500 for the client and a log line for the server", () =>
    Effect.gen(function*() {
      const logged: Array<string> = []
      const logger = Logger.make(({ message }) => void logged.push(String(message)))
      const decisions: ReadonlyArray<() => Effect.Effect<Handshake.Decision>> = [
        () => Effect.die("boom"),
        () => {
          throw new Error("boom")
        },
        () => Effect.succeed(Handshake.accept({ protocol: "never offered" })),
        () => Effect.succeed(Handshake.accept({ headers: { "X-Bad": "a\r\nb" } })),
        () => Effect.succeed(Handshake.reject({ status: 99 }))
      ]
      for (const decide of decisions) {
        const server = yield* serve(idle, { serve: { decide } }).pipe(Effect.provide(Logger.layer([logger])))
        assert.strictEqual(yield* statusOf(server.port, requestText()), 500)
      }
      assert.strictEqual(logged.length, decisions.length)
    }))

  it.effect("that never ends is given up with 503 after handshakeTimeout", () =>
    Effect.gen(function*() {
      const begun = yield* Deferred.make<void>()
      const server = yield* serve(idle, {
        handshakeTimeout: "5 seconds",
        serve: { decide: () => Effect.andThen(Deferred.succeed(begun, undefined), Effect.never) }
      })
      const status = yield* Effect.forkChild(statusOf(server.port, requestText()))
      yield* Deferred.await(begun)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* Fiber.join(status), 503)
    }))

  const waysToGo: ReadonlyArray<readonly [string, (socket: Net.Socket) => void]> = [
    ["is reset", (socket) => socket.resetAndDestroy()],
    ["goes", (socket) => socket.destroy()],
    ["ends its side", (socket) => socket.end()]
  ]
  for (const [how, go] of waysToGo) {
    it.live(`is interrupted when the client ${how} (CVE-2022-21676)`, () =>
      Effect.gen(function*() {
        const begun = yield* Deferred.make<void>()
        const interrupted = yield* Deferred.make<void>()
        const server = yield* serve(idle, {
          serve: {
            decide: () =>
              Effect.andThen(Deferred.succeed(begun, undefined), Effect.never).pipe(
                Effect.onInterrupt(() => Deferred.succeed(interrupted, undefined))
              )
          }
        })
        const peer = yield* rawConnect(server.port)
        peer.write(requestText())
        yield* Deferred.await(begun)
        go(peer.socket)
        yield* Deferred.await(interrupted)
        yield* peer.ended
        assert.deepStrictEqual(yield* server.connections, [])
      }))
  }

  it.live("comes from the policy in the context where serve has none", () =>
    Effect.gen(function*() {
      const closedToday = Handshake.layerPolicy({
        decide: () => Effect.succeed(Handshake.reject({ status: 503, body: "closed today" }))
      })
      const server = yield* serve(idle).pipe(Effect.provide(closedToday))
      assert.strictEqual(yield* statusOf(server.port, requestText()), 503)
    }))
})

describe("handlers", () => {
  it.live("run one a connection, and their end closes it: 1000 after a success", () =>
    Effect.gen(function*() {
      const server = yield* serve(Effect.flatMap(Connection.Connection, (connection) => connection.send("bye")))
      for (let i = 0; i < 2; i++) {
        const connection = yield* connect(server.url)
        assert.deepStrictEqual((yield* Stream.runCollect(connection.messages)).map(textOf), ["bye"])
        assert.strictEqual((yield* connection.closed).code, 1000)
      }
    }))

  it.live("that fail or die close their own connection with 1011, and are logged", () =>
    Effect.gen(function*() {
      const logged: Array<unknown> = []
      const logger = Logger.make(({ logLevel, message }) => void logged.push([logLevel, message]))
      const server = yield* serve(
        Effect.gen(function*() {
          const connection = yield* Connection.Connection
          const message = textOf(yield* connection.receive)
          if (message === "fail") return yield* Effect.fail("failed on purpose")
          if (message === "die") return yield* Effect.die("died on purpose")
          if (message === "throw") throw new Error("thrown on purpose")
          yield* connection.send(message)
          return yield* idle
        })
      ).pipe(Effect.provide(Logger.layer([logger])))
      const bystander = yield* connect(server.url)
      for (const command of ["fail", "die", "throw"]) {
        const connection = yield* connect(server.url)
        yield* connection.send(command)
        assert.strictEqual((yield* connection.closed).code, 1011)
      }
      yield* bystander.send("unharmed")
      assert.strictEqual(textOf(yield* bystander.receive), "unharmed")
      assert.strictEqual(logged.length, 3)
    }))

  const records = Effect.sync(() => {
    const logged: Array<Record<string, unknown>> = []
    const logger = Logger.map(Logger.formatStructured, ({ annotations, cause, level, message }) => {
      logged.push({ level, message, cause, ...annotations })
    })
    return { logged, layer: Logger.layer([logger]) }
  })

  it.live("that fail are logged with the path, the address, the key and the close code, without the query", () =>
    Effect.gen(function*() {
      const { layer, logged } = yield* records
      const server = yield* serve(Effect.fail("on purpose")).pipe(Effect.provide(layer))
      const peer = yield* rawConnect(server.port)
      peer.write(requestText({}, "GET /chat?token=s3cret HTTP/1.1"))
      yield* eventually(() => logged.length > 0)
      const [{ cause, ...record }] = logged
      assert.deepStrictEqual(record, {
        level: "ERROR",
        message: "a WebSocket handler failed",
        "url.path": "/chat",
        "client.address": "127.0.0.1",
        "websocket.key": sampleKey,
        "websocket.close.code": 1011
      })
      assert.include(String(cause), "on purpose")
      assert.notInclude(JSON.stringify(logged), "s3cret")
    }))

  it.live("that fail after they have closed are logged with the code that they closed with", () =>
    Effect.gen(function*() {
      const { layer, logged } = yield* records
      const failing = Effect.gen(function*() {
        yield* (yield* Connection.Connection).close(4000)
        return yield* Effect.die("on purpose")
      })
      const server = yield* serve(failing).pipe(Effect.provide(layer))
      const connection = yield* connect(server.url)
      assert.strictEqual((yield* connection.closed).code, 4000)
      yield* eventually(() => logged.length > 0)
      assert.deepInclude(logged[0], { level: "ERROR", "websocket.close.code": 4000 })
    }))

  it.live("that fail are logged with their span where there is a tracer", () =>
    Effect.gen(function*() {
      const { layer, logged } = yield* records
      const spans: Array<Tracer.Span> = []
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          spans.push(span)
          return span
        }
      })
      const server = yield* serve(Effect.fail("on purpose")).pipe(
        Effect.provide(layer),
        Effect.provideService(Tracer.Tracer, tracer)
      )
      yield* (yield* connect(server.url)).closed
      yield* eventually(() => logged.length > 0)
      const { spanId, traceId } = spans.find(({ kind, name }) => name === "websocket.connection" && kind === "server")!
      assert.deepInclude(logged[0], { "trace.id": traceId, "span.id": spanId })
    }))

  it.live("whose peer sends an invalid message are logged as a warning of one line, without the message", () =>
    Effect.gen(function*() {
      const { layer, logged } = yield* records
      const typed = Effect.flatMap(Connection.Connection, (connection) =>
        Stream.runDrain(
          TypedConnection.make(connection, { receives: Schema.Struct({ a: Schema.Finite }), sends: Schema.String })
            .messages
        ))
      const server = yield* serve(typed).pipe(Effect.provide(layer))
      for (const [sent, said] of [[`{"a":"s3cret"}`, `Expected number at ["a"]`], ["s3cret", "Expected valid JSON"]]) {
        const connection = yield* connect(server.url)
        yield* connection.send(sent)
        const { code, reason } = yield* connection.closed
        assert.deepStrictEqual([code, reason], [1007, said])
        yield* eventually(() => logged.length > 0)
        assert.deepInclude(logged[0], {
          level: "WARN",
          message: `a WebSocket peer sent an invalid message: ${said}`,
          "url.path": "/",
          "websocket.close.code": 1007
        })
        assert.notInclude(JSON.stringify(logged.splice(0)), "s3cret")
      }
    }))

  it.live("whose finalizer dies are logged, and their connection is closed all the same", () =>
    Effect.gen(function*() {
      const { layer, logged } = yield* records
      const server = yield* serve(Effect.addFinalizer(() => Effect.die("on purpose"))).pipe(Effect.provide(layer))
      assert.strictEqual((yield* (yield* connect(server.url)).closed).code, 1000)
      yield* eventually(() => logged.length > 0)
      assert.deepInclude(logged[0], {
        level: "ERROR",
        message: "a finalizer of a WebSocket handler died",
        "url.path": "/"
      })
    }))

  it.live("that have no connection because decide dies are logged with the request", () =>
    Effect.gen(function*() {
      const { layer, logged } = yield* records
      const server = yield* serve(idle, { serve: { decide: () => Effect.die("on purpose") } }).pipe(
        Effect.provide(layer)
      )
      yield* Effect.flip(connect(`${server.url}/chat?token=s3cret`))
      assert.deepInclude(logged[0], { level: "ERROR", "url.path": "/chat", "client.address": "127.0.0.1" })
      assert.notInclude(JSON.stringify(logged), "s3cret")
    }))

  it.live("that fail because the peer went are not worth an error in the log", () =>
    Effect.gen(function*() {
      const logged: Array<unknown> = []
      const logger = Logger.make(({ logLevel }) => void logged.push(logLevel))
      const ended = yield* Deferred.make<string>()
      const server = yield* serve(
        Effect.onExit(echo, (exit) => Deferred.succeed(ended, exit._tag))
      ).pipe(Effect.provide(Logger.layer([logger])))
      const peer = yield* rawHandshake(server.port)
      peer.socket.resetAndDestroy()
      assert.strictEqual(yield* Deferred.await(ended), "Failure")
      assert.deepStrictEqual(logged, [])
    }))

  it.live("that fail because they send while the connection is being closed are not, either", () =>
    Effect.gen(function*() {
      const logged: Array<unknown> = []
      const logger = Logger.make(({ logLevel }) => void logged.push(logLevel))
      const failed = yield* Deferred.make<ConnectionError.ConnectionClosed>()
      const server = yield* serve(Effect.gen(function*() {
        const connection = yield* Connection.Connection
        yield* Effect.forkChild(connection.close(1001), { startImmediately: true })
        return yield* Effect.tapError(connection.send("late"), (error) => Deferred.succeed(failed, error))
      })).pipe(Effect.provide(Logger.layer([logger])))
      const peer = yield* rawHandshake(server.port)
      // It is told before the peer has answered.
      assert.deepInclude(yield* Deferred.await(failed), { sent: { code: 1001, reason: "" }, received: undefined })
      peer.send(Frame.close(1001))
      yield* peer.ended
      while ((yield* server.connections).length > 0) yield* Effect.sleep(1)
      assert.deepStrictEqual(logged, [])
    }))

  it.live("that fail with nothing are logged too", () =>
    Effect.gen(function*() {
      const logged: Array<unknown> = []
      const logger = Logger.make(({ logLevel }) => void logged.push(logLevel))
      const server = yield* serve(Effect.fail(undefined)).pipe(Effect.provide(Logger.layer([logger])))
      const connection = yield* connect(server.url)
      assert.strictEqual((yield* connection.closed).code, 1011)
      assert.deepStrictEqual(logged, ["Error"])
    }))

  it.live("have a Scope that ends with the connection", () =>
    Effect.gen(function*() {
      const released = yield* Deferred.make<void>()
      const server = yield* serve(Effect.gen(function*() {
        yield* Effect.addFinalizer(() => Deferred.succeed(released, undefined))
        yield* echo
      }))
      const connection = yield* connect(server.url)
      yield* connection.close()
      yield* Deferred.await(released)
    }))

  const handlerTimeouts = [["handlerTimeout", { handlerTimeout: "7 seconds" }, 7], ["30 seconds", {}, 30]] as const
  for (const [name, options, seconds] of handlerTimeouts) {
    it.effect(`that go on after their connection get ${name}, and are interrupted then`, () =>
      Effect.gen(function*() {
        const exits = yield* Deferred.make<Exit.Exit<unknown, unknown>>()
        const gone = yield* Deferred.make<void>()
        const server = yield* serve(
          Effect.gen(function*() {
            const connection = yield* Connection.Connection
            yield* Effect.forkChild(Effect.andThen(connection.closed, Deferred.succeed(gone, undefined)))
            return yield* Effect.never
          }).pipe(Effect.onExit((exit) => Deferred.succeed(exits, exit))),
          { serve: { ...options, keepalive: false } }
        )
        const peer = yield* rawHandshake(server.port)
        peer.socket.destroy()
        yield* Deferred.await(gone)
        yield* TestClock.adjust(Duration.seconds(seconds - 1))
        assert.isFalse(yield* Deferred.isDone(exits))
        yield* TestClock.adjust("1 second")
        assert.isTrue(Exit.hasInterrupts(yield* Deferred.await(exits)))
      }))
  }

  it.live("echo 100,000 pipelined messages in order, in bounded memory", () =>
    Effect.gen(function*() {
      const total = 100_000
      const server = yield* serve(echo)
      const client = yield* connect(server.url)
      const [serverSide] = yield* server.connections
      yield* Effect.forkChild(
        Stream.range(0, total - 1).pipe(
          Stream.runForEachArray((numbers) => client.sendAll(numbers.map(String)))
        )
      )
      let next = 0
      let most = 0
      yield* Stream.runForEachArray(Stream.take(client.messages, total), (messages) =>
        Effect.gen(function*() {
          for (const message of messages) {
            if (textOf(message) !== String(next++)) assert.fail(`out of order at ${next - 1}`)
          }
          const { bufferedAmount, unreadAmount } = yield* serverSide.stats
          most = Math.max(most, bufferedAmount + unreadAmount)
        }))
      assert.strictEqual(next, total)
      assert.isBelow(most, 4 * 1024 * 1024)
    }), 30_000)

  it.live(
    "a peer that reads nothing suspends send; a handler that reads nothing stops the peer",
    () =>
      Effect.gen(function*() {
        let sent = 0
        const server = yield* serve(
          Effect.gen(function*() {
            const connection = yield* Connection.Connection
            const chunk = new Uint8Array(100_000)
            return yield* Effect.forever(Effect.tap(connection.send(chunk), () => Effect.sync(() => sent++)))
          }),
          { serve: { shutdownTimeout: 0 } }
        )
        const peer = yield* rawHandshake(server.port)
        peer.socket.pause()
        const [connection] = yield* server.connections
        let before = -1
        while (before !== sent) {
          before = sent
          yield* Effect.sleep("100 millis")
        }
        assert.isBelow((yield* connection.stats).bufferedAmount, 1024 * 1024)

        const deaf = yield* serve(Effect.never, { serve: { shutdownTimeout: 0 } })
        const client = yield* connect(deaf.url, { closeTimeout: "10 millis" })
        const sending = yield* Effect.forkChild(Effect.forever(client.send(new Uint8Array(100_000))))
        const [unread] = yield* deaf.connections
        let amount = -1
        let stats = yield* unread.stats
        while (amount !== stats.bytesIn) {
          amount = stats.bytesIn
          yield* Effect.sleep("100 millis")
          stats = yield* unread.stats
        }
        assert.isUndefined(sending.pollUnsafe())
        assert.isBelow(stats.unreadAmount, 1024 * 1024)
        yield* Fiber.interrupt(sending)
        peer.socket.destroy()
      }),
    20_000
  )
})

describe("shutdown", () => {
  /** A server in a Scope of its own, which can be closed. */
  const stoppable = <E>(
    handler: Effect.Effect<unknown, E, Connection.Connection | Scope.Scope>,
    options?: WebSocketServer.ServeOptions
  ) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const server = yield* serve(handler, { serve: { keepalive: false, ...options } }).pipe(Scope.provide(scope))
      return { server, stop: Scope.close(scope, Exit.void) }
    })

  it.live("tells everybody 1001, lets handlers finish, and frees the port", () =>
    Effect.gen(function*() {
      let finished = 0
      const { server, stop } = yield* stoppable(Effect.andThen(echo, Effect.sync(() => finished++)))
      const clients = yield* Effect.replicateEffect(connect(server.url), 20)
      yield* Effect.forEach(clients, (client) => client.send("x"))
      yield* Effect.forEach(clients, (client) => client.receive)
      yield* stop
      const ends = yield* Effect.forEach(clients, (client) => client.closed)
      assert.deepStrictEqual(ends.map((end) => [end.code, end.clean]), ends.map(() => [1001, true]))
      assert.strictEqual(finished, 20)
      yield* WebSocketServer.make({ host: "127.0.0.1", port: server.port })
    }))

  it.live("says what shutdownClose says", () =>
    Effect.gen(function*() {
      const shutdownClose = { code: 1012, reason: "back in a minute" }
      const { server, stop } = yield* stoppable(echo, { shutdownClose })
      const client = yield* connect(server.url)
      yield* stop
      const end = yield* client.closed
      assert.deepStrictEqual([end.code, end.reason], [1012, "back in a minute"])
      const error = yield* Effect.flip(stoppable(echo, { shutdownClose: { code: 1006 } }))
      assert.deepInclude(error, { _tag: "InvalidOption", option: "shutdownClose" })
    }))

  const shutdownTimeouts = [["shutdownTimeout", { shutdownTimeout: "4 seconds" }, 4], ["10 seconds", {}, 10]] as const
  for (const [name, options, seconds] of shutdownTimeouts) {
    it.effect(`cuts what is not over within ${name}`, () =>
      Effect.gen(function*() {
        const interrupted = yield* Deferred.make<void>()
        const { server, stop } = yield* stoppable(
          Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, undefined)),
          { ...options, closeTimeout: "1 minute" }
        )
        const silent = yield* rawHandshake(server.port)
        const stopping = yield* Effect.forkChild(stop)
        const [close] = yield* silent.untilFrames(1)
        assert.deepStrictEqual(Frame.readClose(close.payload), { code: 1001, reason: "" })
        yield* TestClock.adjust(Duration.seconds(seconds - 1))
        assert.isUndefined(stopping.pollUnsafe())
        yield* TestClock.adjust("1 second")
        yield* Deferred.await(interrupted)
        yield* Fiber.join(stopping)
        yield* silent.ended
      }))
  }

  it.live("ends decisions that are under way, and refuses them and what comes after with 503", () =>
    Effect.gen(function*() {
      const begun = yield* Deferred.make<void>()
      const server = yield* WebSocketServer.make({ host: "127.0.0.1" })
      const port = server.address._tag === "Tcp" ? server.address.port : 0
      assert.strictEqual(yield* statusOf(port, requestText()), 503)
      const scope = yield* Scope.make()
      yield* server.serve(idle, { decide: () => Effect.andThen(Deferred.succeed(begun, undefined), Effect.never) })
        .pipe(
          Scope.provide(scope)
        )
      const peer = yield* rawConnect(port)
      peer.write(requestText())
      yield* Deferred.await(begun)
      yield* settle
      yield* Scope.close(scope, Exit.void)
      assert.match(splitHead(yield* peer.ended).head, /^HTTP\/1\.1 503 .*\r\nRetry-After: \d+$/s)
      assert.strictEqual(yield* statusOf(port, requestText()), 503)
      // A server can serve again.
      yield* server.serve(idle)
      yield* rawHandshake(port)
    }))

  it.live("is the same where the server's Scope closes before that of serve", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const server = yield* WebSocketServer.make({ host: "127.0.0.1" }).pipe(Scope.provide(scope))
      yield* server.serve(echo)
      const client = yield* connect(server.url)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* client.closed).code, 1001)
    }))

  it.live("who comes while that waits for handlers gets 503", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const release = yield* Deferred.make<void>()
      const server = yield* WebSocketServer.make({ host: "127.0.0.1" }).pipe(Scope.provide(scope))
      yield* server.serve(
        Connection.Connection.pipe(
          Effect.flatMap(({ closed }) => closed),
          Effect.andThen(Deferred.await(release)),
          Effect.uninterruptible
        )
      )
      const client = yield* connect(server.url)
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      assert.strictEqual((yield* client.closed).code, 1001)
      assert.strictEqual(yield* statusOf(Number(new URL(server.url).port), requestText()), 503)
      yield* Deferred.succeed(release, undefined)
      yield* Fiber.join(closing)
    }))

  it.live("serves one handler at a time", () =>
    Effect.gen(function*() {
      const server = yield* serve(idle)
      const defect = yield* Effect.flip(Effect.catchDefect(Effect.scoped(server.serve(idle)), Effect.fail))
      assert.deepInclude(defect, { _tag: "AlreadyServing" })
      yield* rawHandshake(server.port)
    }))
})

describe("TLS", () => {
  it.live("a client that does not know the authority, and one that has the wrong scheme, is told what to change", () =>
    Effect.gen(function*() {
      const secure = yield* serve(idle, { tls: { key, cert } })
      const plain = yield* serve(idle)
      const adviceFor = (url: string) =>
        Effect.map(Effect.flip(connect(url)), ({ message }) => message.slice(message.lastIndexOf("; ") + 2))
      const at = (scheme: string, { port }: { readonly port: number }) => `${scheme}://localhost:${port}/`
      assert.strictEqual(
        yield* adviceFor(at("wss", secure)),
        "if you trust the server's authority, add its certificate to tls.ca"
      )
      assert.strictEqual(yield* adviceFor(at("wss", plain)), "if the server does not use TLS, use a ws:// URL")
      assert.strictEqual(yield* adviceFor(at("ws", secure)), "if the server uses TLS, use a wss:// URL")
    }))
})

describe("listening", () => {
  it.live("says why it cannot", () =>
    Effect.gen(function*() {
      const server = yield* serve(idle)
      const error = yield* Effect.flip(WebSocketServer.make({ host: "127.0.0.1", port: server.port }))
      assert.deepInclude(error, { _tag: "ListenFailed", code: "EADDRINUSE" })
      assert.match(error.message, /EADDRINUSE/)
      const noPort = yield* Effect.flip(WebSocketServer.make({ port: 70_000 }))
      assert.deepInclude(noPort, { _tag: "InvalidOption", option: "port" })
    }))

  it.live("on all addresses of this machine, before anyone serves", () =>
    Effect.gen(function*() {
      const server = yield* WebSocketServer.make({ backlog: 10 })
      assert.match(server.url, /^ws:\/\/localhost:\d+$/)
      assert.deepStrictEqual(yield* server.connections, [])
    }))

  it.live("on a Unix socket", () =>
    Effect.gen(function*() {
      const directory = mkdtempSync(join(tmpdir(), "effect-ws-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(directory, { recursive: true })))
      const socketPath = join(directory, "socket")
      const server = yield* serve(echo, { socketPath })
      assert.deepStrictEqual(server.address, { _tag: "Unix", path: socketPath })
      const connection = yield* connect(server.url, { socketPath })
      yield* connection.send("over a file")
      assert.strictEqual(textOf(yield* connection.receive), "over a file")
    }))

  it.live("with TLS", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { tls: { key, cert } })
      assert.match(server.url, /^wss:/)
      const connection = yield* connect(server.url, { tls: { ca: cert } })
      yield* connection.send("secret")
      assert.strictEqual(textOf(yield* connection.receive), "secret")
      const [serverSide] = yield* server.connections
      assert.isTrue(serverSide.request.secure)
      yield* connection.close()
    }))

  it.live("with TLS, and keys that are encrypted", () =>
    Effect.gen(function*() {
      const passphrase = "open sesame"
      const encrypted = String(
        createPrivateKey(key).export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase })
      )
      const server = yield* serve(echo, { tls: { key: encrypted, passphrase, cert, requestCert: true, ca: cert } })
      const connection = yield* connect(server.url, { tls: { ca: cert, key: encrypted, passphrase, cert } })
      yield* connection.send("secret")
      assert.strictEqual(textOf(yield* connection.receive), "secret")
    }))

  it.live("over any Duplex that is handed in", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo)
      const [ours, theirs] = duplexPair()
      yield* server.accept(theirs)
      const connection = yield* connect("ws://inside.example/", { duplex: ours })
      const [accepted] = yield* server.connections
      assert.strictEqual(accepted.request.host, "inside.example")
      assert.deepStrictEqual({ ...accepted.responseHeaders }, { ...connection.responseHeaders })
      yield* connection.send("no socket")
      assert.strictEqual(textOf(yield* connection.receive), "no socket")
      assert.isTrue((yield* connection.close()).clean)
    }))

  it.live("lists its connections", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo)
      const one = yield* connect(`${server.url}/one`)
      yield* connect(`${server.url}/two`)
      const paths = Effect.map(server.connections, (all) => all.map((connection) => connection.request.path))
      assert.deepStrictEqual(yield* paths, ["/one", "/two"])
      yield* one.close()
      assert.deepStrictEqual(yield* paths, ["/two"])
    }))

  it.live("as layers, with options from the configuration", () =>
    Effect.gen(function*() {
      const provider = ConfigProvider.fromUnknown({ HOST: "127.0.0.1", PATH_PREFIX: "/ws" })
      const Server = WebSocketServer.layerConfig({
        host: Config.String("HOST"),
        path: Config.String("PATH_PREFIX"),
        handshakeTimeout: Config.Duration("HANDSHAKE").pipe(Config.withDefault("3 seconds"))
      }).pipe(Layer.provide(ConfigProvider.layer(provider)))
      const Main = WebSocketServer.serve(echo).pipe(Layer.provideMerge(Server))
      yield* Effect.gen(function*() {
        const { url } = yield* WebSocketServer.WebSocketServer
        assert.match(url, /^ws:\/\/127\.0\.0\.1:\d+\/ws$/)
        const connection = yield* connect(url)
        yield* connection.send("configured")
        assert.strictEqual(textOf(yield* connection.receive), "configured")
      }).pipe(Effect.provide(Main))
    }))

  for (const [what, said] of [["nothing", ""], ["half of a ClientHello", "160301"]] as const) {
    it.live(`with TLS, is not held up in its end by who has said ${what}`, () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const server = yield* serve(idle, { tls: { key, cert }, handshakeTimeout: "1 hour" }).pipe(Scope.provide(scope))
        const peer = yield* rawConnect(server.port)
        peer.write(Buffer.from(said, "hex"))
        // It has been accepted once a later one has been answered.
        yield* Effect.scoped(connect(server.url, { tls: { ca: cert } }))
        yield* Scope.close(scope, Exit.void)
        yield* peer.ended
      }))
  }

  it.live("keeps plain HTTP connections from holding up its end", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const server = yield* serve(idle, { onRequest: (_request, response) => response.end("ok") }).pipe(
        Scope.provide(scope)
      )
      const agent = new Http.Agent({ keepAlive: true })
      yield* Effect.promise(() =>
        new Promise((resolve, reject) =>
          Http.get({ port: server.port, agent }, (response) => response.resume().on("end", resolve)).on("error", reject)
        )
      )
      yield* Scope.close(scope, Exit.void)
      agent.destroy()
    }))
})

/** Two streams, each other's end. */
const duplexPair = (): [Duplex, Duplex] => {
  const ends: Array<Duplex> = []
  const make = (other: () => Duplex) =>
    new Duplex({
      read: () => {},
      write: (chunk, _encoding, done) => {
        other().push(Buffer.from(chunk))
        done()
      },
      final: (done) => {
        other().push(null)
        done()
      }
    })
  ends.push(make(() => ends[1]), make(() => ends[0]))
  return [ends[0], ends[1]]
}
