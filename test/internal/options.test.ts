import { assert, describe, it } from "@effect/vitest"
import { Cause, Duration, Effect, Exit, Layer, Result } from "effect"
import { Connection, HandshakeError, PerMessageDeflate, WebSocketClient, WebSocketServer } from "effect-ws"
import * as Testing from "effect-ws/Testing"
import { checkServe } from "../../src/internal/options.ts"

/** Each option, what it may not be, and what it may. */
const connection: ReadonlyArray<
  readonly [string, ReadonlyArray<Connection.Options>, ReadonlyArray<Connection.Options>]
> = [
  ["maxMessageSize", [{ maxMessageSize: -1 }, { maxMessageSize: NaN }], [{ maxMessageSize: 0 }, {
    maxMessageSize: Infinity
  }]],
  ["maxFragments", [{ maxFragments: 0 }, { maxFragments: NaN }], [{ maxFragments: 1 }]],
  ["inboundHighWaterMark", [{ inboundHighWaterMark: 0 }, { inboundHighWaterMark: NaN }], [{ inboundHighWaterMark: 1 }]],
  ["maxUnansweredPings", [{ maxUnansweredPings: -1 }, { maxUnansweredPings: NaN }], [{ maxUnansweredPings: 0 }]],
  ["closeTimeout", [{ closeTimeout: -1 }, { closeTimeout: "soon" as "1 second" }], [{ closeTimeout: 0 }]],
  ["writeTimeout", [{ writeTimeout: 0 }, { writeTimeout: "-1 second" }], [{ writeTimeout: Duration.infinity }]],
  ["slowConsumerTimeout", [{ slowConsumerTimeout: 0 }], [{ slowConsumerTimeout: Duration.infinity }]],
  ["idleTimeout", [{ idleTimeout: 0 }], [{ idleTimeout: 1 }]],
  ["keepalive.interval", [{ keepalive: { interval: 0 } }, { keepalive: { interval: -1 } }], [{ keepalive: false }]],
  ["keepalive.timeout", [{ keepalive: { timeout: 0 } }], [{ keepalive: {} }]]
]

const serving: ReadonlyArray<
  readonly [string, ReadonlyArray<WebSocketServer.ServeOptions>, ReadonlyArray<WebSocketServer.ServeOptions>]
> = [
  ...connection,
  ["maxConnections", [{ maxConnections: -1 }, { maxConnections: NaN }], [{ maxConnections: 0 }]],
  ["maxConnectionsPerAddress", [{ maxConnectionsPerAddress: NaN }], [{ maxConnectionsPerAddress: Infinity }]],
  ["handlerTimeout", [{ handlerTimeout: -1 }], [{ handlerTimeout: 0 }]],
  ["shutdownTimeout", [{ shutdownTimeout: "soon" as "1 second" }], [{ shutdownTimeout: 0 }]],
  ["origin", [
    { origin: ["https://example.com/"] },
    { origin: ["https://Example.com"] },
    { origin: ["https://example.com:443"] },
    { origin: ["https://example.com", "https://example.com/chat"] },
    { origin: ["https://*.example.com"] },
    { origin: ["*"] },
    { origin: ["example.com"] },
    { origin: ["localhost:3000"] },
    { origin: ["https://"] },
    { origin: ["chrome-extension://abcdefgh/"] },
    { origin: [""] }
  ], [
    { origin: "any" },
    { origin: [] },
    { origin: ["https://example.com", "http://localhost:3000", "http://[::1]:3000", "null"] },
    { origin: ["chrome-extension://abcdefgh", "app://obsidian.md", "app://-", "file://"] }
  ]]
]

const defectOf = (exit: Exit.Exit<unknown, unknown>) =>
  Exit.isFailure(exit) ? exit.cause.reasons.filter(Cause.isDieReason).map(({ defect }) => defect)[0] : undefined

describe("options that cannot be", () => {
  for (const [option, wrong, right] of serving) {
    it.effect(`${option}: a server does not serve with it`, () =>
      Effect.gen(function*() {
        for (const options of wrong) {
          const exit = yield* Effect.exit(
            Effect.scoped(Layer.build(
              WebSocketServer.serve(Effect.never, options).pipe(Layer.provide(Testing.layer()))
            ))
          )
          assert.deepInclude(defectOf(exit), { _tag: "InvalidOption", option })
        }
        for (const options of right) assert.isUndefined(checkServe(options))
      }))
  }

  for (const [option, wrong] of connection) {
    it.effect(`${option}: a client does not connect with it, nor is a connection made`, () =>
      Effect.gen(function*() {
        for (const options of wrong) {
          const error = yield* Effect.flip(WebSocketClient.connect("ws://127.0.0.1:1/", options))
          assert.deepInclude(error, { _tag: "InvalidOption", option })
          const made = yield* Effect.exit(Testing.makeConnection({ role: "server", ...options }))
          assert.deepInclude(defectOf(made), { _tag: "InvalidOption", option })
        }
      }))
  }

  const deflate: ReadonlyArray<readonly [string, ReadonlyArray<unknown>, ReadonlyArray<unknown>]> = [
    ["serverMaxWindowBits", [7, 16, 12.5, NaN], [8, 15]],
    ["clientMaxWindowBits", [7, 16, 12.5, NaN], [8, 15]],
    ["level", [-1, 10], [0, 9]],
    ["memoryLevel", [0, 10], [1, 9]],
    ["threshold", [-1, NaN], [0, Infinity]],
    ["memoryLimit", [-1, NaN], [0, Infinity]],
    ["releaseAfter", [0, -1], ["1 second", Infinity]]
  ]
  for (const [option, wrong, right] of deflate) {
    it(`${option}: compression is not made with it`, () => {
      const makeWith = (value: unknown) => PerMessageDeflate.make({ [option]: value })
      for (const value of wrong) {
        const thrown = Result.try(() => makeWith(value))
        assert.deepInclude(Result.isFailure(thrown) ? thrown.failure : undefined, { _tag: "InvalidOption", option })
      }
      for (const value of right) assert.strictEqual(makeWith(value).name, "permessage-deflate")
    })
  }

  const listening: ReadonlyArray<readonly [string, WebSocketServer.MakeOptions]> = [
    ["path", { path: "chat" }],
    ["path", { path: "" }],
    ["path", { path: "/chat?a" }],
    ["handshakeTimeout", { handshakeTimeout: 0 }],
    ["handshakeTimeout", { handshakeTimeout: -1 }],
    ["maxHeaderSize", { maxHeaderSize: NaN }],
    ["maxPendingHandshakes", { maxPendingHandshakes: 0 }],
    ["tls", { tls: { key: "no key", cert: "no certificate" } }]
  ]
  for (const [option, options] of listening) {
    it.live(`${option}: a server does not listen with ${JSON.stringify(options)}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(WebSocketServer.make(options))
        assert.deepInclude(error, { _tag: "InvalidOption", option })
      }))
  }

  it.live("a handshakeTimeout need not be whole milliseconds", () =>
    Effect.gen(function*() {
      const server = yield* WebSocketServer.make({ host: "127.0.0.1", handshakeTimeout: 3333.3 })
      yield* server.serve(Effect.flatMap(Connection.Connection, ({ send }) => send("hello")))
      const client = yield* WebSocketClient.connect(server.url, { handshakeTimeout: 3333.3 })
      assert.strictEqual((yield* client.receive)._tag, "Text")
    }))

  it.live("all that is a limit may be Infinity", () =>
    Effect.gen(function*() {
      const server = yield* WebSocketServer.make({
        host: "127.0.0.1",
        handshakeTimeout: Infinity,
        maxHeaderSize: Infinity,
        maxPendingHandshakes: Infinity
      })
      const limits: Connection.Options = {
        maxMessageSize: Infinity,
        maxFragments: Infinity,
        inboundHighWaterMark: Infinity,
        maxUnansweredPings: Infinity,
        closeTimeout: Infinity,
        writeTimeout: Infinity,
        idleTimeout: Infinity,
        keepalive: { interval: Infinity, timeout: Infinity }
      }
      yield* server.serve(Effect.flatMap(Connection.Connection, ({ send }) => send("hello")), {
        ...limits,
        maxConnections: Infinity,
        maxConnectionsPerAddress: Infinity,
        handlerTimeout: Infinity,
        shutdownTimeout: Infinity
      })
      const client = yield* WebSocketClient.connect(server.url, {
        ...limits,
        handshakeTimeout: Infinity,
        headers: { "X-Long": "x".repeat(50_000) }
      })
      assert.strictEqual((yield* client.receive)._tag, "Text")
    }))

  it("says what is wrong, and what would be right", () => {
    const said = (options: WebSocketServer.ServeOptions) => checkServe(options)?.message
    assert.strictEqual(
      said({ maxConnections: Number("many") }),
      `the option "maxConnections" cannot be used: it is NaN, and has to be 0 or more; Infinity turns it off`
    )
    assert.strictEqual(
      said({ keepalive: { interval: 0 } }),
      `the option "keepalive.interval" cannot be used: it is 0; keepalive: false sends no pings`
    )
    assert.strictEqual(
      said({ origin: ["https://example.com/"] }),
      `the option "origin" cannot be used: browsers say "https://example.com" for "https://example.com/"`
    )
    assert.instanceOf(checkServe({ maxFragments: 0 }), HandshakeError.InvalidOption)
  })
})
