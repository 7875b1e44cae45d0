/** Options of a client: the program's own stream, invalid values, and defaults by a layer. */
import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Fiber, Layer, Redacted, Tracer } from "effect"
import { HandshakeError, WebSocketClient } from "effect-ws"
import * as Http from "node:http"
import * as Net from "node:net"
import { Duplex, PassThrough } from "node:stream"
import * as Tls from "node:tls"
import { ca, certificate, key, tls } from "../support/certificates.ts"
import { failure, redirecting, visit } from "../support/connecting.ts"
import { turn } from "../support/memory.ts"
import { echo } from "../support/serving.ts"
import { rawServer, serve } from "../support/net.ts"

describe("duplex", () => {
  it.live("calls a duplex function for each request", () =>
    Effect.gen(function*() {
      const server = yield* redirecting({ "/a": "/b" })
      const made: Array<Net.Socket> = []
      const duplex = (url: URL) =>
        Effect.sync(() => {
          const socket = Net.connect(Number(url.port), url.hostname)
          made.push(socket)
          return socket
        })
      yield* visit(`${server.url}/a`, { duplex, maxRedirects: 1 })
      assert.strictEqual(made.length, 2)
      assert.isTrue(made.every((socket) => socket.destroyed))
    }))

  it.live("starts TLS on a duplex for wss, unless it is a TLS socket", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { tls })
      const duplex = (url: URL) => Effect.sync(() => Net.connect(Number(url.port), "127.0.0.1"))
      yield* visit(server.url, { duplex, tls: { ca } })
      const untrusted = yield* failure(WebSocketClient.connect(server.url, { duplex }))
      assert.deepInclude(untrusted, { _tag: "ConnectFailed", code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE" })
      yield* visit(server.url, { duplex: Tls.connect({ port: server.port, host: "127.0.0.1", ca }) })
      const plain = yield* serve(echo)
      yield* failure(WebSocketClient.connect(`wss://127.0.0.1:${plain.port}`, { duplex, tls: { ca } }))
    }))

  it.live("a duplex function that fails is the cause of ConnectFailed", () =>
    Effect.gen(function*() {
      const cause = Object.assign(new Error("no tunnel"), { code: "ETUNNEL" })
      const error = yield* failure(
        WebSocketClient.connect("ws://there/a?token=x", { duplex: () => Effect.fail(cause) })
      )
      assert.deepInclude(error, { _tag: "ConnectFailed", code: "ETUNNEL", url: "ws://there/a" })
      assert.strictEqual((error as HandshakeError.ConnectFailed).cause, cause)
    }))

  it.live("destroys a duplex if the handshake is interrupted", () =>
    Effect.gen(function*() {
      let written = ""
      const duplex = new Duplex({
        read: () => {},
        write: (chunk, _encoding, done) => {
          written += chunk
          done()
        }
      })
      const fiber = yield* Effect.forkChild(Effect.scoped(WebSocketClient.connect("ws://there/", { duplex })))
      while (!written.endsWith("\r\n\r\n")) yield* turn
      yield* Fiber.interrupt(fiber)
      assert.isTrue(duplex.destroyed)
    }))
})

describe("invalid options", () => {
  const cases: ReadonlyArray<readonly [string, string, WebSocketClient.ConnectOptions]> = [
    ["maxRedirects", "ws:", { maxRedirects: -1 }],
    ["maxRedirects", "ws:", { maxRedirects: 1.5 }],
    ["maxRedirects", "ws:", { maxRedirects: Number.NaN }],
    ["handshakeTimeout", "ws:", { handshakeTimeout: "soon" as "1 second" }],
    ["handshakeTimeout", "ws:", { handshakeTimeout: 0 }],
    ["keepalive.interval", "ws:", { keepalive: { interval: 0 } }],
    ["agent", "ws:", { agent: new Http.Agent(), socketPath: "/tmp/x" }],
    ["agent", "ws:", { agent: new Http.Agent(), proxy: { url: "http://127.0.0.1:1" } }],
    ["duplex", "ws:", { duplex: new PassThrough(), proxy: { url: "http://127.0.0.1:1" } }],
    ["proxy", "ws:", { proxy: { url: "http://127.0.0.1:1" }, socketPath: "/tmp/x" }],
    ["proxy.url", "ws:", { proxy: { url: "127.0.0.1:1" } }],
    ["proxy.url", "ws:", { proxy: { url: "proxy" } }],
    ["proxy.url", "ws:", { proxy: { url: "socks5://127.0.0.1:1" } }],
    ["proxy.url", "ws:", { proxy: { url: "http://%zz@127.0.0.1:1" } }],
    ["proxy.tls", "ws:", { proxy: { url: "https://127.0.0.1:1", tls: { ca: "none", cert: "none" } } }],
    ["socketPath", "ws:", { socketPath: "" }],
    ["duplex", "ws:", { duplex: new PassThrough(), socketPath: "/tmp/x" }],
    ["agent", "wss:", { agent: new Http.Agent() }],
    ["agent", "ws:", { agent: {} as Http.Agent }],
    ["socketPath", "ws:", { socketPath: "/tmp/a\0b" }],
    ["tls", "wss:", { tls: { ca: "no certificate", cert: "none" } }],
    ["tls", "wss:", { tls: { cert: certificate("client.crt"), key: Redacted.make("no key") } }],
    ["tls.servername", "wss:", { tls: { servername: "a\r\nb" } }],
    ["tls.servername", "wss:", { tls: { servername: "a\0b" } }]
  ]
  for (const [option, scheme, options] of cases) {
    it.live(`fails with InvalidOption for ${option}: ${JSON.stringify(options).slice(0, 60)}`, () =>
      Effect.gen(function*() {
        const server = yield* rawServer(() => {})
        const error = yield* failure(WebSocketClient.connect(`${scheme}//127.0.0.1:${server.port}/`, options))
        assert.deepInclude(error, { _tag: "InvalidOption", option })
        assert.strictEqual(server.peers.length, 0)
      }))
  }
})

describe("CVE-2026-47072, CVE-2026-1527: line breaks and NUL in the request", () => {
  for (const bad of ["\r\nX-Injected: 1", "\n", "\r", "\0"]) {
    it.live(`${JSON.stringify(bad)} in the request fails with a typed error before a connection`, () =>
      Effect.gen(function*() {
        const server = yield* rawServer(() => {})
        const host = `127.0.0.1:${server.port}`
        const errors = yield* Effect.forEach([
          WebSocketClient.connect(`ws://${host}/a${bad}`),
          WebSocketClient.connect(`ws://${host}/?a=${bad}`),
          WebSocketClient.connect(`ws://127.0.0.1${bad}:${server.port}/`),
          WebSocketClient.connect(`ws://u${bad}:p@${host}/`),
          WebSocketClient.connect(`ws://${host}/`, { headers: { Host: `example.com${bad}` } }),
          WebSocketClient.connect(`ws://${host}/`, { headers: { "X-A": `a${bad}` } }),
          WebSocketClient.connect(`ws://${host}/`, { headers: { "X-A": ["a", bad] } }),
          WebSocketClient.connect(`ws://${host}/`, { headers: { [`X${bad}`]: "a" } }),
          WebSocketClient.connect(`ws://${host}/`, { protocols: ["a", `b${bad}`] })
        ], failure)
        assert.deepStrictEqual(errors.map((error) => error._tag), [
          "InvalidUrl",
          "InvalidUrl",
          "InvalidUrl",
          "InvalidUrl",
          "InvalidHeader",
          "InvalidHeader",
          "InvalidHeader",
          "InvalidHeader",
          "InvalidProtocol"
        ])
        assert.strictEqual(server.peers.length, 0)
      }))
  }
})

describe("layer", () => {
  it.live("layer provides options for all connections of a program", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { tls, serve: { protocols: ["v1"] } })
      const program = visit(server.url, { headers: { "X-B": "2" } })
      const request = yield* Effect.provide(
        program,
        WebSocketClient.layer({ tls: { ca }, protocols: ["v1"], headers: { "X-A": "1" } })
      )
      assert.deepStrictEqual(request.protocols, ["v1"])
      assert.deepStrictEqual([request.headers["x-a"], request.headers["x-b"]], [undefined, "2"])
    }))

  it.live("layer provides headers beside those of the trace, and to a reconnecting client", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo)
      const request = yield* Effect.withParentSpan(
        visit(server.url),
        Tracer.externalSpan({ traceId: "a".repeat(32), spanId: "b".repeat(16) })
      )
      const traceparent = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`
      assert.deepStrictEqual([request.headers["x-a"], request.headers["traceparent"]], ["1", traceparent])
      const client = yield* WebSocketClient.reconnecting(server.url)
      const again = yield* client.connection
      assert.strictEqual(again.request.headers["x-a"], "1")
    }).pipe(Effect.provide(WebSocketClient.layer({ headers: { "X-A": "1" } }))))

  it.live("layerConfig reads options from the configuration", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { tls: { ...tls, ca, requestCert: true } })
      const layer = WebSocketClient.layerConfig({
        tls: { ca: Config.String("CA"), cert: Config.String("CERT"), key: Config.Redacted("KEY") },
        handshakeTimeout: Config.Duration("TIMEOUT"),
        keepalive: Config.all({ interval: Config.Duration("INTERVAL") }),
        maxRedirects: Config.Int("REDIRECTS").pipe(Config.withDefault(3)),
        maxMessageSize: Config.Int("MAX_SIZE")
      })
      const configured = (environment: Readonly<Record<string, string>>) =>
        Effect.provide(
          visit(server.url),
          Layer.provide(layer, ConfigProvider.layer(ConfigProvider.fromUnknown(environment)))
        )
      const environment = {
        CA: ca,
        CERT: certificate("client.crt"),
        KEY: key,
        TIMEOUT: "5 seconds",
        INTERVAL: "1 minute",
        MAX_SIZE: "5"
      }
      yield* configured(environment)
      const tooLarge = yield* Effect.flip(configured({ ...environment, MAX_SIZE: "4" }))
      assert.deepInclude(tooLarge, { _tag: "ConnectionClosed" })
      const wrong = yield* Effect.flip(configured({ ...environment, TIMEOUT: "soon" }))
      assert.strictEqual(wrong._tag, "ConfigError")
    }))
})
