/** Servers and clients with options from the configuration. */
import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Layer, Schema, Scope } from "effect"
import { WebSocketClient, WebSocketServer } from "effect-ws"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { ca, certificate, key } from "../support/certificates.ts"
import { contentOf } from "../support/memory.ts"
import { rawConnect } from "../support/net.ts"
import { echo } from "../support/serving.ts"

const environment = (variables: Readonly<Record<string, string>>) =>
  ConfigProvider.layer(ConfigProvider.fromUnknown(variables))

/** All options of listening. */
const listening: Config.Wrap<WebSocketServer.ListenOptions> = {
  port: Config.Port("PORT").pipe(Config.withDefault(0)),
  host: Config.String("HOST").pipe(Config.withDefault("127.0.0.1")),
  socketPath: Config.String("SOCKET").pipe(Config.withDefault(undefined)),
  backlog: Config.Int("BACKLOG").pipe(Config.withDefault(undefined)),
  path: Config.String("PATHNAME").pipe(Config.withDefault(undefined)),
  tls: Config.all({
    key: Config.Redacted("KEY"),
    cert: Config.String("CERT"),
    ca: Config.String("CA"),
    requestCert: Config.Boolean("MUTUAL")
  }).pipe(Config.withDefault(undefined)),
  handshakeTimeout: Config.Duration("HANDSHAKE_TIMEOUT").pipe(Config.withDefault(undefined)),
  maxHeaderSize: Config.Int("MAX_HEADER_SIZE").pipe(Config.withDefault(undefined))
}

/** Options of serving that are numbers and durations. */
const serving = Config.unwrap<WebSocketServer.ServeOptions>({
  protocols: Config.Array(Schema.String, "PROTOCOLS").pipe(Config.withDefault(undefined)),
  origin: Config.Array(Schema.String, "ORIGINS").pipe(Config.withDefault(undefined)),
  maxMessageSize: Config.Int("MAX_MESSAGE_SIZE").pipe(Config.withDefault(undefined)),
  closeTimeout: Config.Duration("CLOSE_TIMEOUT").pipe(Config.withDefault(undefined)),
  keepalive: Config.all({ interval: Config.Duration("KEEPALIVE") }).pipe(Config.withDefault(false as const)),
  shutdownClose: Config.all({ code: Config.Int("SHUTDOWN_CODE") }).pipe(Config.withDefault(undefined)),
  shutdownTimeout: Config.Duration("SHUTDOWN_TIMEOUT").pipe(Config.withDefault(undefined))
})

/** Starts a server with options from environment variables. */
const start = (variables: Readonly<Record<string, string>>) =>
  Effect.gen(function*() {
    const layer = Layer.provideMerge(
      Layer.unwrap(Effect.map(serving, (options) => WebSocketServer.serve(echo, options))),
      WebSocketServer.layerConfig(listening)
    )
    const context = yield* Layer.build(Layer.provide(layer, environment(variables)))
    return yield* Effect.provideContext(WebSocketServer.WebSocketServer, context)
  })

const open = (server: WebSocketServer.WebSocketServer, options?: WebSocketClient.ConnectOptions) =>
  WebSocketClient.connect(server.url, options)

describe("a server with options from environment variables", () => {
  it.live("uses the defaults without variables", () =>
    Effect.gen(function*() {
      const server = yield* start({})
      const connection = yield* open(server)
      yield* connection.send("hello")
      assert.strictEqual(contentOf(yield* connection.receive), "hello")
    }))

  it.live("reads path, TLS and client certificates", () =>
    Effect.gen(function*() {
      const server = yield* start({
        HOST: "localhost",
        BACKLOG: "5",
        PATHNAME: "/feed",
        KEY: key,
        CERT: certificate("signed.crt"),
        CA: ca,
        MUTUAL: "true",
        PROTOCOLS: "v2,v1"
      })
      assert.match(server.url, /^wss:.*\/feed$/)
      const tls = { ca, key, cert: certificate("client.crt") }
      const connection = yield* open(server, { tls, protocols: ["v1", "v2"] })
      assert.strictEqual(connection.subprotocol, "v2")
      assert.strictEqual((yield* Effect.flip(open(server, { tls: { ca } })))._tag, "ConnectFailed")
      const elsewhere = server.url.replace("/feed", "/other")
      const error = yield* Effect.flip(WebSocketClient.connect(elsewhere, { tls }))
      assert.deepInclude(error, { _tag: "HandshakeRejected", status: 404 })
    }))

  it.live("reads the path of a Unix socket", () =>
    Effect.gen(function*() {
      const socketPath = join(tmpdir(), `effect-ws-${process.pid}-config.sock`)
      const server = yield* start({ SOCKET: socketPath })
      assert.deepStrictEqual(server.address, { _tag: "Unix", path: socketPath })
      const connection = yield* open(server, { socketPath })
      assert.isTrue((yield* connection.close()).clean)
    }))

  it.live("reads limits and timeouts", () =>
    Effect.gen(function*() {
      const server = yield* start({
        MAX_HEADER_SIZE: "2000",
        HANDSHAKE_TIMEOUT: "200 millis",
        MAX_MESSAGE_SIZE: "4",
        ORIGINS: "https://a.example,https://b.example",
        KEEPALIVE: "1 minute",
        CLOSE_TIMEOUT: "1 second"
      })
      const limited = yield* open(server, { headers: { Origin: "https://b.example" } })
      yield* limited.send("12345")
      assert.strictEqual((yield* limited.closed).code, 1009)
      for (
        const [status, headers] of [
          [403, { Origin: "https://c.example" }],
          [431, { "X-Long": "x".repeat(4000) }]
        ] as const
      ) {
        const error = yield* Effect.flip(open(server, { headers }))
        assert.deepInclude(error, { _tag: "HandshakeRejected", status })
      }
      // A request that never ends: handshakeTimeout limits its head.
      const slow = yield* rawConnect(server.address._tag === "Tcp" ? server.address.port : 0)
      slow.write("GET / HTTP/1.1\r\n")
      assert.match((yield* slow.ended).toString("latin1"), /^HTTP\/1.1 408 /)
    }))

  it.live("reads the close code of a shutdown", () =>
    Effect.gen(function*() {
      const outer = yield* Effect.scope
      const connection = yield* Effect.scoped(Effect.gen(function*() {
        const server = yield* start({ SHUTDOWN_CODE: "1012", SHUTDOWN_TIMEOUT: "5 seconds" })
        return yield* Effect.provideService(open(server), Scope.Scope, outer)
      }))
      assert.strictEqual((yield* connection.closed).code, 1012)
    }))

  for (
    const [name, value] of Object.entries({
      PORT: "many",
      HANDSHAKE_TIMEOUT: "soon",
      MAX_HEADER_SIZE: "1.5",
      SHUTDOWN_TIMEOUT: "later"
    })
  ) {
    it.live(`fails with a ConfigError that names ${name}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(start({ [name]: value }))
        assert.strictEqual(error._tag, "ConfigError")
        assert.include(error.message, name)
      }))
  }
})
