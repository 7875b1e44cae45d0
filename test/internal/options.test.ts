import { assert, describe, it } from "@effect/vitest"
import { Cause, Duration, Effect, Exit, Layer, Schedule, Schema } from "effect"
import { HttpRouter } from "effect/http"
import { RpcSerialization } from "effect/rpc"
import {
  Broker,
  BrowserClient,
  Connection,
  Frame,
  HandshakeError,
  Heartbeat,
  Message,
  PerMessageDeflate,
  Topic,
  TopicClient,
  Topics,
  TopicServer,
  Transport,
  WebSocketClient,
  WebSocketServer
} from "effect-ws"
import { tmpdir } from "node:os"
import * as RpcServerProtocol from "effect-ws/RpcServerProtocol"
import * as Testing from "effect-ws/Testing"
import { readdirSync, readFileSync } from "node:fs"
import { inspect } from "node:util"
import { isExpired } from "../../src/internal/centrifuge/expiry.ts"
import { checkListen } from "../../src/internal/node/listenOptions.ts"
import { checkRedis } from "../../src/internal/redis/options.ts"
import { assertValid } from "../../src/internal/runtime/optionChecks.ts"
import { checkServe } from "../../src/internal/server/options.ts"
import { application } from "../support/application.ts"
import { makeFakeConnection } from "../support/messageConnection.ts"

/** Each option, with invalid and valid values. */
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
  [
    "maxConnectionsPerAddress",
    [{ maxConnectionsPerAddress: NaN }, { maxConnectionsPerAddress: -1 }],
    [{ maxConnectionsPerAddress: Infinity }, { maxConnectionsPerAddress: 0 }]
  ],
  ["handlerTimeout", [{ handlerTimeout: -1 }], [{ handlerTimeout: 0 }]],
  ["shutdownTimeout", [{ shutdownTimeout: "soon" as "1 second" }], [{ shutdownTimeout: 0 }]],
  ["shutdownClose", [
    { shutdownClose: { code: 1006 } },
    { shutdownClose: { code: NaN } },
    { shutdownClose: { code: "1001" as unknown as number } },
    { shutdownClose: { code: 1001, reason: "x".repeat(124) } }
  ], [{ shutdownClose: { code: 4000 } }, { shutdownClose: { code: 1012, reason: "x".repeat(123) } }]],
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

describe("an invalid option", () => {
  for (const [option, wrong, right] of serving) {
    it.effect(`${option}: fails to serve`, () =>
      Effect.gen(function*() {
        for (const options of wrong) {
          const error = yield* Effect.flip(
            Effect.scoped(Layer.build(
              WebSocketServer.serve(Effect.never, options).pipe(Layer.provide(Testing.layer()))
            ))
          )
          assert.deepInclude(error, { _tag: "InvalidOption", option })
        }
        for (const options of right) assert.isUndefined(checkServe(options))
      }))
  }

  for (const [option, wrong] of connection) {
    it.effect(`${option}: fails to connect, and to make a connection`, () =>
      Effect.gen(function*() {
        for (const options of wrong) {
          const error = yield* Effect.flip(WebSocketClient.connect("ws://127.0.0.1:1/", options))
          assert.deepInclude(error, { _tag: "InvalidOption", option })
          const made = yield* Effect.flip(Testing.makeConnection({ role: "server", ...options }))
          assert.deepInclude(made, { _tag: "InvalidOption", option })
        }
      }))
  }

  const listening: ReadonlyArray<readonly [string, WebSocketServer.MakeOptions]> = [
    ["path", { path: "chat" }],
    ["path", { path: "" }],
    ["path", { path: "/chat?a" }],
    ["handshakeTimeout", { handshakeTimeout: 0 }],
    ["handshakeTimeout", { handshakeTimeout: -1 }],
    ["maxHeaderSize", { maxHeaderSize: NaN }],
    ["maxPendingHandshakes", { maxPendingHandshakes: 0 }],
    ["socketPath", { socketPath: "" }],
    ["socketPath", { socketPath: "/tmp/a\0b" }],
    ["tls", { tls: { key: "no key", cert: "no certificate" } }]
  ]
  for (const [option, options] of listening) {
    it.live(`${option}: fails to listen with ${JSON.stringify(options)}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(WebSocketServer.make(options))
        assert.deepInclude(error, { _tag: "InvalidOption", option })
      }))
  }

  const longest = process.platform === "linux" ? 107 : 103
  /** A path of a size in bytes, which has fewer characters. */
  const pathOf = (bytes: number) => `${tmpdir()}/é`.padEnd(bytes - 1, `${process.pid}`)
  const names: ReadonlyArray<readonly [string, (bytes: number) => string]> = [
    ["a path", pathOf],
    ...process.platform === "linux"
      ? [["the name of an abstract socket", (bytes: number) => `\0${pathOf(bytes)}`]] as const
      : []
  ]
  for (const [what, name] of names) {
    it.live(`socketPath: allows ${longest} bytes for ${what}`, () =>
      Effect.gen(function*() {
        const socketPath = name(longest)
        const server = yield* WebSocketServer.make({ socketPath })
        yield* server.serve(Effect.flatMap(Connection.Connection, ({ send }) => send("hello")))
        const client = yield* WebSocketClient.connect(server.url, { socketPath })
        assert.strictEqual((yield* client.receive)._tag, "Text")
        const tooLong = { socketPath: name(longest + 1) }
        for (
          const error of yield* Effect.all([
            Effect.flip(WebSocketServer.make(tooLong)),
            Effect.flip(WebSocketClient.connect(server.url, tooLong))
          ])
        ) {
          assert.deepInclude(error, { _tag: "InvalidOption", option: "socketPath" })
        }
      }))
  }

  it.live("allows fractions of milliseconds for handshakeTimeout", () =>
    Effect.gen(function*() {
      const server = yield* WebSocketServer.make({ host: "127.0.0.1", handshakeTimeout: 3333.3 })
      yield* server.serve(Effect.flatMap(Connection.Connection, ({ send }) => send("hello")))
      const client = yield* WebSocketClient.connect(server.url, { handshakeTimeout: 3333.3 })
      assert.strictEqual((yield* client.receive)._tag, "Text")
    }))

  it.live("allows Infinity for each limit", () =>
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

  it("fails with what was expected, and what it got", () => {
    const said = (options: WebSocketServer.ServeOptions) => checkServe(options)?.message
    assert.strictEqual(
      said({ maxConnections: Number("many") }),
      `invalid option "maxConnections": expected a number >= 0 (Infinity disables the limit), got NaN`
    )
    assert.strictEqual(
      said({ keepalive: { interval: 0 } }),
      `invalid option "keepalive.interval": expected a duration > 0 ` +
        `(keepalive: false sends no pings), got 0`
    )
    assert.strictEqual(
      said({ handlerTimeout: { seconds: NaN } }),
      `invalid option "handlerTimeout": expected a duration >= 0, got { seconds: NaN }`
    )
    assert.strictEqual(
      said({ origin: ["https://example.com/"] }),
      `invalid option "origin": expected "https://example.com", as browsers send it, got "https://example.com/"`
    )
    assert.instanceOf(checkServe({ maxFragments: 0 }), HandshakeError.InvalidOption)
  })
})

/** A rule for values: the words of the docstring, and the values that it excludes and allows. */
interface Rule {
  readonly says: RegExp
  readonly excludes: ReadonlyArray<unknown>
  readonly allows: ReadonlyArray<unknown>
}

const noDurations: ReadonlyArray<unknown> = [
  NaN,
  "NaN seconds",
  "soon",
  "",
  "1 fortnight",
  { seconds: NaN },
  { seconds: 1, minutes: NaN },
  { fortnights: 1 },
  {},
  [NaN, 0],
  [1],
  new Date(0),
  true,
  null,
  -1,
  -Infinity,
  -1n,
  "-1 second",
  { seconds: -1 },
  Duration.millis(-1)
]
const zeros: ReadonlyArray<unknown> = [0, 0n, "0 seconds", { seconds: 0 }, [0, 0], Duration.zero]
const times: ReadonlyArray<unknown> = [0.5, Infinity, 10_000_000n, "1.5 seconds", "Infinity", { seconds: 1 }, [1, 5]]
const noNumbers: ReadonlyArray<unknown> = [NaN, -1, -Infinity, "1", "many", 1n, true, null, {}, [1]]

const duration: Rule = { says: /\b0 or more, or Infinity/, excludes: noDurations, allows: [...zeros, ...times] }
const wait: Rule = { says: /\bmore than 0, or Infinity/i, excludes: [...noDurations, ...zeros], allows: times }
const atLeast0: Rule = { says: /\b0 or more, or Infinity/, excludes: noNumbers, allows: [0, 1, 2.5, Infinity] }
const atLeast1: Rule = { says: /\b1 or more, or Infinity/, excludes: [...noNumbers, 0], allows: [1, 2.5, Infinity] }
const whole = (says: RegExp, least: number, most: number): Rule => ({
  says,
  excludes: [...noNumbers, least - 1, least + 0.5, most + 1, Infinity],
  allows: [least, least + 1, most]
})

const orNoLimit: Rule = {
  says: /\bwhole number, 0 or more, or Infinity/,
  excludes: [...noNumbers, 0.5],
  allows: [0, 1, Infinity]
}
const most = 2 ** 31 - 1

const served = (options: object) =>
  Effect.scoped(Effect.flatMap(
    WebSocketServer.make({ host: "127.0.0.1" }),
    (server) => server.serve(Effect.void, options)
  ))
const listened = (options: object) => Effect.scoped(WebSocketServer.make({ host: "127.0.0.1", ...options }))
const limitedHttp2 = (http2Limits: object) => listened({ cleartextHttp2: true, http2Limits })
const noSocket = new Error("no socket")
/** Connects with valid options as far as to the socket, which fails. */
const connected = (options: object) =>
  Effect.catchDefect(
    Effect.scoped(Effect.asVoid(WebSocketClient.connect("ws://127.0.0.1/", {
      duplex: () => {
        throw noSocket
      },
      ...options
    }))),
    (defect) => defect === noSocket ? Effect.void : Effect.die(defect)
  )
/** Connects in a browser with valid options as far as to the WebSocket object. */
const opened = (options: object) =>
  BrowserClient.connect("ws://there/", options).pipe(
    Effect.asVoid,
    Effect.catchTag("ConnectFailed", () => Effect.void),
    Effect.scoped,
    Effect.provideService(BrowserClient.WebSocketConstructor, () => {
      throw noSocket
    })
  )
/** An invalid option is final. Valid ones come to a port where nothing listens. */
const reconnected = (options: object) =>
  WebSocketClient.reconnecting("ws://127.0.0.1:1/", { schedule: Schedule.recurs(0), ...options }).pipe(
    Effect.flatMap(({ closed }) => closed),
    Effect.catchTag("ConnectFailed", () => Effect.void),
    Effect.scoped
  )
const beating = (options: object) =>
  Effect.scoped(
    Effect.asVoid(Heartbeat.make(makeFakeConnection({ closed: Effect.never }), { message: "", ...options }))
  )
const linked = (options: object) => Effect.asVoid(Testing.makeLink({ toServer: options }))
const called = (make: (options: any) => unknown) => (options: object) => Effect.sync(() => void make(options))
const assembled = called((options) => new Message.Validator(options))
const built = <A, E>(layer: (options: object) => Layer.Layer<A, E>): Use => (options) =>
  Effect.scoped(Effect.asVoid(Layer.build(layer(options))))
const topicsLive = (options: object) => Layer.provideMerge(Topics.layer(options), Broker.layerMemory())
const News = Topic.make("news", { message: Schema.String, history: { size: 1, ttl: "1 minute" } })
/** The first attempt to connect fails, and is the last. */
const topicClient = (options: object) =>
  TopicClient.make(() => Effect.fail(noSocket), { schedule: Schedule.recurs(0), ...options })
const topicClientMade = (options: object) => Effect.scoped(Effect.asVoid(topicClient(options)))
const topicsServed = called((options) => TopicServer.handler({ topics: [], ...options }))
const rpcServed = (options: object) =>
  Effect.asVoid(Effect.provide(RpcServerProtocol.make(options), RpcSerialization.layerJson))
const redis = called((options) => assertValid(checkRedis(options)))

type Use = (options: object) => Effect.Effect<unknown, unknown>

/** Each option that is a number or a duration, by the file of its interface. */
const table: Record<string, Record<string, readonly [Rule, ...ReadonlyArray<Use>]>> = {
  BrowserClient: {
    maxUnreadAmount: [atLeast0, opened],
    outboundHighWaterMark: [atLeast0, opened]
  },
  MessageClient: {
    handshakeTimeout: [wait, opened, connected],
    closeTimeout: [duration, opened, connected],
    maxMessageSize: [atLeast0, opened, connected]
  },
  Connection: {
    maxMessageSize: [atLeast0, served, connected],
    maxFragments: [atLeast1, served, connected],
    inboundHighWaterMark: [atLeast1, served, connected],
    maxUnansweredPings: [atLeast0, served, connected],
    closeTimeout: [duration, served, connected],
    interval: [wait, ...[served, connected].map((use): Use => (options) => use({ keepalive: options }))],
    timeout: [wait, ...[served, connected].map((use): Use => (options) => use({ keepalive: options }))],
    writeTimeout: [wait, served, connected],
    slowConsumerTimeout: [wait, served, connected],
    idleTimeout: [wait, served, connected],
    maxBufferedAmount: [atLeast0, (options) => Connection.broadcast([], "x", options)]
  },
  WebSocketServer: {
    port: [whole(/\b0 to 65,535/, 0, 65_535), (options) => Effect.sync(() => checkListen(options))],
    backlog: [whole(/\b1 or more/, 1, 2 ** 31 - 1), listened],
    handshakeTimeout: [wait, listened],
    maxHeaderSize: [atLeast1, listened],
    maxPendingHandshakes: [atLeast1, listened],
    maxStreams: [atLeast1, limitedHttp2],
    idleTimeout: [wait, limitedHttp2],
    maxConnections: [atLeast0, served],
    maxConnectionsPerAddress: [atLeast0, served],
    handlerTimeout: [duration, served],
    shutdownTimeout: [duration, served]
  },
  WebSocketClient: {
    handshakeTimeout: [wait, connected],
    maxRedirects: [whole(/whole number, 0 or more/, 0, Number.MAX_SAFE_INTEGER), connected],
    connectionAttemptDelay: [duration, connected]
  },
  Reconnecting: {
    resetAfter: [duration, reconnected],
    maxRetryAfter: [duration, reconnected]
  },
  Heartbeat: {
    interval: [wait, beating],
    timeout: [wait, beating]
  },
  PerMessageDeflate: {
    threshold: [atLeast0, called(PerMessageDeflate.make)],
    releaseAfter: [wait, called(PerMessageDeflate.make)],
    memoryLimit: [atLeast0, called(PerMessageDeflate.make)]
  },
  RpcServerProtocol: {
    streamWindow: [atLeast0, rpcServed]
  },
  Testing: {
    latency: [duration, linked],
    chunkSize: [atLeast1, linked],
    resetAfterBytes: [atLeast0, linked]
  },
  Frame: {
    maxFrameSize: [
      { says: /NaN or a negative number rejects all data frames/, excludes: [], allows: [NaN, -1, 0, Infinity] },
      called(Frame.makeCodec)
    ],
    pieceSize: [
      { ...atLeast1, says: /\b1 or more/ },
      called((options) => Frame.makeDecoder({ role: "server", ...options }))
    ],
    reservedBits: [
      whole(/\b0 to 7/, 0, 7),
      called((options) => Frame.makeDecoder({ role: "server", ...options }))
    ]
  },
  Message: {
    maxMessageSize: [{ says: /NaN rejects all messages/, excludes: [], allows: [NaN, 0, Infinity] }, assembled],
    maxFragments: [{ says: /NaN allows one/, excludes: [], allows: [NaN, 0, Infinity] }, assembled]
  },
  Transport: {
    highWaterMark: [atLeast1, Transport.makePair as Use]
  },
  Broker: {
    // `Topics` and `TopicClient` check it.
    limit: [
      { ...orNoLimit, excludes: [] },
      (options) =>
        Effect.flatMap(Broker.Broker, ({ history }) => history("news", options)).pipe(
          Effect.provide(Broker.layerMemory()),
          Effect.asVoid
        )
    ],
    maxIdleChannels: [whole(/whole number, 1 or more/, 1, most), built(Broker.layerMemory)],
    maxIdempotencyKeys: [whole(/whole number, 1 or more/, 1, most), built(Broker.layerMemory)]
  },
  RedisBroker: {
    lease: [{
      says: /\b1 second or more, but not Infinity/,
      excludes: [...noDurations, ...zeros, 999, Infinity],
      allows: [1000, "1.5 seconds", { days: 365 }]
    }, redis],
    commandTimeout: [wait, redis],
    connectTimeout: [wait, redis],
    beaconInterval: [wait, redis],
    checkInterval: [wait, redis],
    positionTtl: [{
      says: /\bMore than 0, but not Infinity/,
      excludes: [...noDurations, ...zeros, Infinity],
      allows: [0.5, "1.5 seconds", { days: 365 }]
    }, redis]
  },
  TopicClient: {
    limit: [orNoLimit, (options) =>
      Effect.flatMap(topicClient({}), ({ history }) => history(News, {}, options)).pipe(
        Effect.catchTag("NotConnected", () => Effect.void),
        Effect.scoped
      )],
    timeout: [wait, topicClientMade],
    pingDelay: [wait, topicClientMade],
    queueSize: [whole(/whole number, 16 or more/, 16, most), topicClientMade]
  },
  TopicServer: {
    expiresIn: [
      { says: /0 or less rejects the client/, excludes: [], allows: [-1, 0, 1, Infinity] },
      called(({ expiresIn }) => isExpired(expiresIn))
    ],
    maxChannels: [whole(/whole number, 0 or more/, 0, most), topicsServed],
    maxChannelLength: [whole(/whole number, 1 or more/, 1, most), topicsServed],
    maxCommandSize: [whole(/whole number, 1 or more/, 1, most), topicsServed],
    maxCommands: [whole(/whole number, 1 or more/, 1, most), topicsServed],
    maxCalls: [whole(/whole number, 1 or more/, 1, most), topicsServed],
    maxHistory: [whole(/whole number, 1 or more/, 1, most), topicsServed],
    connectTimeout: [wait, topicsServed],
    refreshTimeout: [duration, topicsServed],
    pingInterval: [{
      says: /\b1 second or more, or Infinity/,
      excludes: [...noDurations, ...zeros, 999],
      allows: [1000, "1.5 seconds", Infinity]
    }, (options) => topicsServed({ pongTimeout: 1, ...options })],
    pongTimeout: [{
      says: /\bMore than 0, less than `pingInterval`/,
      excludes: [...noDurations, ...zeros, "25 seconds", Infinity],
      allows: [0.5, "1.5 seconds", { seconds: 24 }]
    }, topicsServed]
  },
  Topics: {
    memory: [atLeast0, built(topicsLive)],
    linger: [duration, built(topicsLive)],
    maxBacklog: [atLeast0, built(topicsLive)],
    limit: [orNoLimit, (options) => Effect.asVoid(Effect.provide(Topics.history(News, {}, options), topicsLive({})))]
  }
}

/** The options of a file that are numbers or durations, with their docstrings. */
const documented = (file: string): ReadonlyArray<readonly [name: string, docstring: string]> => {
  const source = readFileSync(new URL(`../../src/${file}`, import.meta.url), "utf8")
  // A field of a model is a value that the library returns.
  const exported = source.matchAll(/^(?: \* @category (?!models).*\n(?: \*.*\n)*)export interface [^]*?^\}/gm)
  return Array.from(exported).flatMap(([text]) => {
    const found = text.matchAll(/^ +readonly (\w+)\?: (?:number|Duration\.Input)\b/gm)
    return Array.from(found).map(({ 1: name, index }) =>
      [name, text.slice(text.lastIndexOf("/**", index), index).replace(/\n *\*/g, "")] as const
    )
  })
}

describe("an option that is a number or a duration", () => {
  const files = readdirSync(new URL("../../src", import.meta.url)).filter((name) => name.endsWith(".ts"))
  for (const file of files) {
    const options = documented(file)
    if (options.length === 0) continue
    it(`documents its rule in the docstring: ${file}`, () => {
      const rules = table[file.replace(".ts", "")] ?? {}
      assert.deepStrictEqual(new Set(options.map(([name]) => name)), new Set(Object.keys(rules)))
      for (const [name, docstring] of options) assert.match(docstring, rules[name][0].says, name)
    })
  }

  for (const [file, rules] of Object.entries(table)) {
    for (const [name, [rule, ...uses]] of Object.entries(rules)) {
      it.live(`follows its rule: ${file}, ${name}`, () =>
        Effect.gen(function*() {
          for (const use of uses) {
            const problemWith = (value: unknown) =>
              Effect.map(Effect.exit(Effect.suspend(() => use({ [name]: value }))), (exit) =>
                Exit.isSuccess(exit) ? exit.value : Cause.squash(exit.cause))
            for (const value of rule.excludes) {
              // JavaScript programs pass null for no value.
              if (value === null) {
                continue
              }
              const problem = yield* problemWith(value)
              assert.instanceOf(problem, HandshakeError.InvalidOption, `${inspect(value)} is not rejected`)
              assert.strictEqual(problem.option.split(".").at(-1), name)
            }
            for (const value of rule.allows) {
              const problem = yield* problemWith(value)
              assert.notInstanceOf(problem, Error, `${inspect(value)} is rejected`)
            }
          }
        }))
    }
  }

  it.live("rejects the first request to a route with an invalid option", () =>
    Effect.gen(function*() {
      for (const handshakeTimeout of ["soon" as "1 second", NaN, 0]) {
        const { url } = yield* application(
          HttpRouter.add("GET", "/", WebSocketServer.upgrade(Effect.void, { handshakeTimeout }))
        )
        const error = yield* Effect.flip(WebSocketClient.connect(url))
        assert.deepInclude(error, { _tag: "HandshakeRejected", status: 500 })
      }
    }))
})
