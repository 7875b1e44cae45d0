/**
 * The documentation: examples that say what they come to do come to it, tests in it pass, what guides export does what
 * they say, links lead somewhere.
 */
import { assert, describe, it } from "@effect/vitest"
import {
  type Config,
  ConfigProvider,
  Context,
  Effect,
  Fiber,
  Layer,
  Logger,
  Metric,
  Queue,
  Schema,
  type Scope
} from "effect"
import { DevToolsServer } from "effect/devtools"
import { type HttpApi, HttpApiBuilder } from "effect/http-api"
import { type Rpc, RpcClient, type RpcGroup, RpcSerialization } from "effect/rpc"
import {
  Broker,
  Connection,
  Handshake,
  type HandshakeError,
  type Reconnecting,
  Socket,
  SocketServer,
  Topic,
  Topics,
  TypedConnection,
  WebSocketClient,
  WebSocketServer
} from "effect-ws"
import * as Testing from "effect-ws/Testing"
import { TestClock } from "effect/testing"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { makeAnchors } from "../../scripts/markdown.mjs"
import { ca, tls } from "../support/certificates.ts"
import { application } from "../support/application.ts"
import { example, examples } from "../support/guides.ts"
import { contentOf, type Shape } from "../support/memory.ts"
import { serve } from "../support/net.ts"
import { httpProxy, socksProxy } from "../support/proxies.ts"
import { echo } from "../support/serving.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

describe("documented examples", () => {
  for (const { asserts, file, name } of examples) {
    if (asserts) it(name, () => import(/* @vite-ignore */ file))
  }
})

for (const { file, name, tests } of examples) {
  if (tests) describe(name, () => import(/* @vite-ignore */ file).then(() => {}))
}

/** The configuration, as it would be in the environment. */
const configuration = (variables: Readonly<Record<string, string>>) =>
  ConfigProvider.layer(ConfigProvider.fromUnknown(variables))

/** The environment itself, for those who read it. */
const withEnvironment = (variables: Readonly<Record<string, string>>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const before = { ...process.env }
      Object.assign(process.env, variables)
      return before
    }),
    (before) => Effect.sync(() => void (process.env = before))
  )

/** Sends a word to who echoes it, and answers the connection's request. */
const visit = (url: string) =>
  Effect.gen(function*() {
    const connection = yield* WebSocketClient.connect(url)
    yield* connection.send("hello")
    assert.strictEqual(contentOf(yield* connection.receive), "hello")
    return connection
  })

const statusOf = (connecting: Effect.Effect<unknown, { readonly _tag: string }, Scope.Scope>) =>
  Effect.map(Effect.flip(connecting), (error) => (error as HandshakeError.HandshakeRejected).status)

/** An example of a handler that is served. */
type ServerExample<Name extends string> = Readonly<
  Record<Name, Layer.Layer<never, never, WebSocketServer.WebSocketServer>>
>

describe("guides", () => {
  it.live("server: a chat broadcasts to the clients that read", () =>
    Effect.gen(function*() {
      const { Chat } = yield* example<ServerExample<"Chat">>("server", "Handlers")
      const talk = Effect.gen(function*() {
        const ada = yield* WebSocketClient.connect("ws://anywhere/")
        assert.strictEqual(contentOf(yield* ada.receive), "1 here")
        const grace = yield* WebSocketClient.connect("ws://anywhere/")
        assert.strictEqual(contentOf(yield* grace.receive), "2 here")
        yield* grace.send("hello")
        assert.strictEqual(contentOf(yield* ada.receive), "hello")
        yield* ada.send("x".repeat(16 * 1024 + 1))
        assert.strictEqual((yield* ada.closed).code, 1009)
      })
      yield* Effect.provide(talk, Chat.pipe(Layer.provideMerge(Testing.layer())))
    }))

  it.live("server: limits are read from the configuration", () =>
    Effect.gen(function*() {
      const { Limited } = yield* example<ServerExample<"Limited">>("server", "Limits from the configuration")
      const program = Effect.gen(function*() {
        const connection = yield* WebSocketClient.connect("ws://anywhere/")
        yield* connection.send("12345")
        assert.strictEqual((yield* connection.closed).code, 1009)
      })
      yield* Effect.provide(
        program,
        Limited.pipe(Layer.provide(configuration({ MAX_MESSAGE_SIZE: "4" })), Layer.provideMerge(Testing.layer()))
      )
    }))

  it.live("server: a health check responds on the same port", () =>
    Effect.gen(function*() {
      const { Healthy } = yield* example<{
        readonly Healthy: Layer.Layer<WebSocketServer.WebSocketServer>
      }>("server", "Plain HTTP on the same port")
      const { url } = Context.get(yield* Layer.build(Healthy), WebSocketServer.WebSocketServer)
      const statuses = yield* Effect.forEach(["/health", "/other"], (path) =>
        Effect.promise(() => fetch(url.replace("ws:", "http:") + path).then(({ status }) => status)))
      assert.deepStrictEqual(statuses, [200, 404])
    }))

  it.live("auth: a token in a header is checked", () =>
    Effect.gen(function*() {
      const { Greeting } = yield* example<ServerExample<"Greeting">>("auth", "A token in a header")
      const connect = (token: string) =>
        WebSocketClient.connect("ws://anywhere/", { headers: { Authorization: `Bearer ${token}` } })
      const program = Effect.gen(function*() {
        const connection = yield* connect("s3cret")
        assert.strictEqual(contentOf(yield* connection.receive), "welcome, Ada")
        assert.strictEqual(yield* statusOf(connect("guess")), 401)
        assert.strictEqual(yield* statusOf(WebSocketClient.connect("ws://anywhere/")), 401)
      })
      yield* Effect.provide(program, Greeting.pipe(Layer.provideMerge(Testing.layer())))
    }))

  it.effect("auth: the first message must authenticate the client in time", () =>
    Effect.gen(function*() {
      const { Greeting } = yield* example<ServerExample<"Greeting">>("auth", "Pages")
      const program = Effect.gen(function*() {
        const friend = yield* WebSocketClient.connect("ws://anywhere/")
        yield* friend.send("s3cret")
        assert.strictEqual(contentOf(yield* friend.receive), "welcome")
        const guess = yield* WebSocketClient.connect("ws://anywhere/")
        yield* guess.send("guess")
        assert.strictEqual((yield* guess.closed).code, 3000)
        const silent = yield* WebSocketClient.connect("ws://anywhere/")
        yield* Testing.settle
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual((yield* silent.closed).code, 3000)
      })
      yield* Effect.provide(program, Greeting.pipe(Layer.provideMerge(Testing.layer())))
    }))

  it.live("deploying: the server knows the address of the client behind a proxy", () =>
    Effect.gen(function*() {
      const { Echo } = yield* example<ServerExample<"Echo">>("deploying", "What changes behind a proxy")
      const whoAmI = (headers: Handshake.HeadersInput) =>
        Effect.flatMap(
          WebSocketClient.connect("ws://anywhere/", { headers }),
          ({ receive }) => Effect.map(receive, contentOf)
        )
      const program = Effect.gen(function*() {
        assert.strictEqual(yield* whoAmI({ "X-Forwarded-For": "10.9.9.9, 203.0.113.7" }), "you are 203.0.113.7")
        assert.strictEqual(yield* whoAmI({}), "you are undefined")
      })
      yield* Effect.provide(program, Echo.pipe(Layer.provideMerge(Testing.layer())))
    }))

  it.live("scaling: a chat over a broker reaches the clients of two servers", () =>
    Effect.gen(function*() {
      const { Chat } = yield* example<{
        readonly Chat: Layer.Layer<never, never, WebSocketServer.WebSocketServer | Topics.Topics>
      }>("scaling", "Messages between processes")
      const broker = yield* Layer.build(Broker.layerMemory())
      const enter = Effect.gen(function*() {
        const server = Layer.fresh(Chat).pipe(
          Layer.provideMerge(Layer.fresh(Testing.layer())),
          Layer.provideMerge(Layer.fresh(Topics.layer())),
          Layer.provide(Layer.succeedContext(broker))
        )
        const context = yield* Layer.build(server)
        const connection = yield* Effect.provideContext(WebSocketClient.connect("ws://anywhere/"), context)
        assert.match(String(contentOf(yield* connection.receive)), /Subscribed/)
        return { connection, context }
      })
      const ada = yield* enter
      const grace = yield* enter
      const Room = Topic.make("room/:name", { message: Schema.Struct({ by: Schema.String, text: Schema.String }) })
      const publish = Topics.publish(Room, { name: "lobby" }, { by: "Grace", text: "hello" })
      yield* Effect.provideContext(publish, grace.context)
      for (const { connection } of [ada, grace]) assert.match(String(contentOf(yield* connection.receive)), /hello/)
    }))

  it.live("routes: middleware rejects requests without a token, and passes the user to the handler", () =>
    Effect.gen(function*() {
      const { Authenticated, Route } = yield* example<{
        readonly Authenticated: { readonly layer: Layer.Layer<never> }
        readonly Route: Layer.Layer<never>
      }>("routes", "The handler's context")
      const { url } = yield* application(Layer.provide(Route, Authenticated.layer))
      const connection = yield* WebSocketClient.connect(`${url}/rooms/blue`, {
        headers: { Authorization: "Bearer s3cret" }
      })
      assert.strictEqual(contentOf(yield* connection.receive), "Ada, welcome to blue")
      assert.strictEqual(yield* statusOf(WebSocketClient.connect(`${url}/rooms/blue`)), 401)
    }))

  it.live("routes: a raw handler of an HttpApi accepts connections", () =>
    Effect.gen(function*() {
      const { Api, Live } = yield* example<{
        readonly Api: HttpApi.HttpApi<"api", never>
        readonly Live: Layer.Layer<never>
      }>("routes", "Accepting and rejecting requests")
      const { url } = yield* application(HttpApiBuilder.layer(Api).pipe(Layer.provide(Live)))
      const connection = yield* WebSocketClient.connect(`${url}/feed/news`)
      assert.strictEqual(contentOf(yield* connection.receive), "this is news")
      yield* connection.send("more")
      assert.strictEqual(contentOf(yield* connection.receive), "more")
    }))

  it.live("rpc: calls and streams work over any WebSocketServer", () =>
    Effect.gen(function*() {
      const { program, Server } = yield* example<{
        readonly program: Effect.Effect<ReadonlyArray<number>>
        readonly Server: Layer.Layer<never, never, WebSocketServer.WebSocketServer>
      }>("rpc", "A server and a client")
      const counted = yield* Effect.provide(program, Server.pipe(Layer.provideMerge(Testing.layer())))
      assert.deepStrictEqual(counted, [1, 2, 3, 4, 5, 6])
    }))

  it.live("rpc: a route serves calls", () =>
    Effect.gen(function*() {
      const { Calls, RpcRoute } = yield* example<{
        readonly Calls: RpcGroup.RpcGroup<Rpc.Rpc<"WhoAmI", Schema.Void, Schema.String>>
        readonly RpcRoute: Layer.Layer<never>
      }>("rpc", "RPC beside other routes")
      const { url } = yield* application(RpcRoute)
      const context = yield* Layer.build(
        RpcClient.layerProtocolSocket().pipe(
          Layer.provide([
            Socket.layer(WebSocketClient.connect(`${url}/rpc`, { headers: { "X-User": "Ada" } })),
            RpcSerialization.layerJson
          ])
        )
      )
      const client = yield* Effect.provideContext(RpcClient.make(Calls), context)
      assert.strictEqual(yield* client.WhoAmI(), "Ada")
    }))

  it.live("rpc: spans reach DevTools", () =>
    Effect.gen(function*() {
      const { Tracing } = yield* example<{ readonly Tracing: Layer.Layer<never> }>("rpc", "DevTools and clusters")
      const names = yield* Queue.unbounded<string>()
      const tools = Layer.effectDiscard(Effect.forkScoped(DevToolsServer.run((client) =>
        Effect.forever(Effect.flatMap(Queue.take(client.queue), (request) =>
          request._tag === "Span" ? Queue.offer(names, request.name) : Effect.void))
      ))).pipe(Layer.provide(SocketServer.layer()), Layer.provideMerge(Testing.layer()))
      const name = yield* Effect.void.pipe(
        Effect.withSpan("watched"),
        Effect.andThen(Queue.take(names)),
        Effect.provide(Tracing.pipe(Layer.provideMerge(tools)))
      )
      assert.strictEqual(name, "watched")
    }))

  it.effect("reconnecting: subscribes on each connection, until the server has finished", () =>
    Effect.gen(function*() {
      const { program } = yield* example<{ readonly program: Effect.Effect<void, unknown> }>(
        "reconnecting",
        "Reconnecting clients"
      )
      const came: Array<string> = []
      const Feed = WebSocketServer.serve(Effect.gen(function*() {
        const connection = yield* Connection.Connection
        came.push(String(contentOf(yield* connection.receive)))
        yield* connection.send("news")
        yield* connection.close(came.length === 2 ? 1000 : 1001)
      }))
      const running = yield* Effect.forkChild(Effect.provide(program, Feed.pipe(Layer.provideMerge(Testing.layer()))))
      while (running.pollUnsafe() === undefined) {
        yield* Testing.settle
        yield* TestClock.adjust("1 second")
      }
      yield* Fiber.join(running)
      assert.deepStrictEqual(came, ["subscribe", "subscribe"])
    }).pipe(Effect.provide(Logger.layer([]))))

  it.live("reconnecting: each attempt gets a new token, and a final code ends the client", () =>
    Effect.gen(function*() {
      const { feed } = yield* example<{
        readonly feed: (
          token: Effect.Effect<string>
        ) => Effect.Effect<Reconnecting.Reconnecting, never, Scope.Scope>
      }>("reconnecting", "Retries and final failures")
      const tokens: Array<string | undefined> = []
      const Feed = WebSocketServer.serve(
        Effect.flatMap(Connection.Connection, (connection) => connection.close(4001)),
        {
          decide: ({ headers }) =>
            Effect.sync(() =>
              tokens.push(headers["authorization"]) === 2 ? Handshake.accept() : Handshake.reject({ status: 503 })
            )
        }
      )
      let made = 0
      const failure = yield* Effect.flatMap(feed(Effect.sync(() => `t${++made}`)), ({ closed }) => Effect.flip(closed))
        .pipe(Effect.scoped, Effect.provide(Feed.pipe(Layer.provideMerge(Testing.layer()))))
      assert.deepInclude(failure, { _tag: "ConnectionClosed", code: 4001 })
      assert.deepStrictEqual(tokens, ["Bearer t1", "Bearer t2"])
    }))

  it.effect("reconnecting: a resumed feed handles each message once, wherever the connection is cut", () =>
    Effect.gen(function*() {
      const { follow } = yield* example<{
        readonly follow: (
          handle: (tick: { readonly n: number }) => Effect.Effect<void>
        ) => Effect.Effect<void, unknown>
      }>("reconnecting", "Catching up and resuming")
      const asked: Array<number> = []
      const handled: Array<number> = []
      const Feed = WebSocketServer.serve(Effect.gen(function*() {
        const connection = yield* Connection.Connection
        const { since } = JSON.parse(String(contentOf(yield* connection.receive))) as { readonly since: number }
        asked.push(since)
        // Each connection is cut in the middle of a replay, which repeats what the client may have unread.
        for (let n = since + 1; n <= Math.min(20, since + 7); n++) {
          yield* connection.send(JSON.stringify({ n, price: n }))
        }
        yield* connection.close(handled.length === 20 ? 1000 : 1001)
      }))
      const running = yield* Effect.forkChild(
        Effect.provide(
          follow(({ n }) => Effect.andThen(Effect.sleep("2 seconds"), Effect.sync(() => handled.push(n)))),
          Feed.pipe(Layer.provideMerge(Testing.layer()))
        )
      )
      while (running.pollUnsafe() === undefined) {
        yield* Testing.settle
        yield* TestClock.adjust("1 second")
      }
      yield* Fiber.join(running)
      assert.deepStrictEqual(handled, Array.from({ length: 20 }, (_, i) => i + 1))
      // Some positions were asked for while messages were unread.
      assert.isAbove(asked.length, 20 / 7 + 1)
    }).pipe(Effect.provide(Logger.layer([]))))

  it.live("client: redirects send the token to the same origin only", () =>
    Effect.gen(function*() {
      const { follow } = yield* example<
        { readonly follow: (url: string) => Effect.Effect<Shape, string, Scope.Scope> }
      >("client", "Redirects")
      const seen: Array<string | undefined> = []
      const redirecting = (location: string | undefined) =>
        serve(Effect.void, {
          serve: {
            decide: ({ headers, path }) =>
              Effect.sync(() => {
                seen.push(headers["authorization"])
                return location === undefined || path !== "/"
                  ? Handshake.accept()
                  : Handshake.reject({ status: 307, headers: { Location: location } })
              })
          }
        })
      yield* follow((yield* redirecting("/here")).url)
      const elsewhere = yield* redirecting(undefined)
      yield* follow((yield* redirecting(elsewhere.url)).url)
      assert.deepStrictEqual(seen, ["Bearer t", "Bearer t", "Bearer t", undefined])
      assert.include(yield* Effect.flip(follow((yield* redirecting("ftp://x/")).url)), "ftp://x/")
    }))

  it.live("client: a host with several addresses is reached by one that accepts", () =>
    Effect.gen(function*() {
      const { pinned } = yield* example<{ readonly pinned: (addresses: ReadonlyArray<string>) => Layer.Layer<never> }>(
        "client",
        "Hosts with several addresses"
      )
      const { port } = yield* serve(echo)
      yield* Effect.provide(visit(`ws://feed.example:${port}`), pinned(["127.0.0.2", "127.0.0.1"]))
    }))

  it.live("client: proxies for HTTP and SOCKS connect to the server", () =>
    Effect.gen(function*() {
      const { FromConfig, throughHttp } = yield* example<{
        readonly FromConfig: Layer.Layer<never, Config.ConfigError>
        readonly throughHttp: (url: string) => Layer.Layer<never>
      }>("client", "Proxies")
      const { throughSocks } = yield* example<{ readonly throughSocks: (proxy: string) => Layer.Layer<never> }>(
        "client",
        "Agents"
      )
      const { port, url } = yield* serve(echo)
      const http = yield* httpProxy((credentials) => credentials === "Basic dTpw")
      const socks = yield* socksProxy
      const proxy = `http://u:p@127.0.0.1:${http.port}`
      yield* Effect.provide(visit(url), throughHttp(proxy))
      yield* Effect.provide(visit(url), Layer.provide(FromConfig, configuration({ PROXY: proxy })))
      yield* Effect.provide(visit(url), throughSocks(`socks5h://127.0.0.1:${socks.port}`))
      const target = `127.0.0.1:${port}`
      assert.deepStrictEqual([http.targets, socks.targets], [[target, target], [target]])
    }))

  it.live("client: the proxy of the environment is used if the program asks for it", () =>
    Effect.gen(function*() {
      const { FromEnvironment } = yield* example<{ readonly FromEnvironment: Layer.Layer<never> }>(
        "client",
        "A proxy from the environment"
      )
      const { port, url } = yield* serve(echo)
      const secure = yield* serve(echo, { tls })
      const http = yield* httpProxy()
      const socks = yield* socksProxy
      yield* withEnvironment({
        // In small letters they come first, should there be others around.
        http_proxy: `http://127.0.0.1:${http.port}`,
        https_proxy: `socks5h://127.0.0.1:${socks.port}`,
        no_proxy: "localhost"
      })
      yield* visit(url)
      assert.deepStrictEqual(http.targets, [])
      yield* Effect.provide(visit(url), FromEnvironment)
      yield* Effect.provide(
        visit(secure.url),
        FromEnvironment.pipe(Layer.provide(WebSocketClient.layer({ tls: { ca } })))
      )
      yield* Effect.provide(visit(url.replace("127.0.0.1", "localhost")), FromEnvironment)
      assert.deepStrictEqual([http.targets, socks.targets], [[`127.0.0.1:${port}`], [`127.0.0.1:${secure.port}`]])
    }))

  it.live("client and server: wss uses an authority from the configuration", () =>
    Effect.gen(function*() {
      const { Client } = yield* example<{ readonly Client: Layer.Layer<never> }>("client", "TLS")
      const { Echo, Secure } = yield* example<{
        readonly Echo: Layer.Layer<never, never, WebSocketServer.WebSocketServer>
        readonly Secure: Layer.Layer<WebSocketServer.WebSocketServer>
      }>("server", "TLS and configuration")
      const variables = { PORT: "0", KEY: tls.key, CERT: tls.cert }
      const context = yield* Layer.build(
        Layer.provideMerge(Echo, Secure).pipe(Layer.provide(configuration(variables)))
      )
      const { url } = Context.get(context, WebSocketServer.WebSocketServer)
      assert.match(url, /^wss:/)
      const stranger = yield* Effect.flip(WebSocketClient.connect(url))
      assert.deepInclude(stranger, { _tag: "ConnectFailed", code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE" })
      yield* Effect.provide(
        visit(url),
        Layer.provide(Client, configuration({ CA: ca }))
      )
    }))

  it.live("client: a stream of the program carries the connection", () =>
    Effect.gen(function*() {
      const { connectFrom } = yield* example<{
        readonly connectFrom: (address: string, url: string) => Effect.Effect<Shape, unknown, Scope.Scope>
      }>("client", "Unix sockets and other streams")
      const server = yield* serve(Effect.gen(function*() {
        const connection = yield* Connection.Connection
        yield* connection.send(String(connection.request.remoteAddress))
      }))
      const connection = yield* connectFrom("127.0.0.2", server.url)
      assert.strictEqual(contentOf(yield* connection.receive), "127.0.0.2")
    }))

  it.live("observability: a metric tells how long sends have waited", () =>
    Effect.gen(function*() {
      const { held } = yield* example<{ readonly held: Effect.Effect<string> }>("observability", "Metrics")
      assert.strictEqual(yield* held, "sends have waited 0 seconds, all together")
      const { connection, peer } = yield* Testing.makeConnection({ role: "server" })
      yield* peer.pause
      const sending = yield* Effect.forkChild(Effect.forever(connection.send(new Uint8Array(50_000))))
      yield* Testing.settle
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.interrupt(sending)
      assert.strictEqual(yield* held, "sends have waited 3 seconds, all together")
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()), Effect.provide(TestClock.layer())))

  it.live("schema: commands go one way, and events the other", () =>
    Effect.gen(function*() {
      const { client, Server } = yield* example<{
        readonly client: Effect.Effect<string>
        readonly Server: Layer.Layer<never, never, WebSocketServer.WebSocketServer>
      }>("schema", "Typed messages")
      const said = yield* Effect.provide(client, Server.pipe(Layer.provideMerge(Testing.layer())))
      assert.match(said, /^hello, in \d{4}$/)
    }).pipe(Effect.provide(Logger.layer([]))))

  it.live("schema: values travel as MessagePack", () =>
    Effect.gen(function*() {
      const { messagePack } = yield* example<{ readonly messagePack: TypedConnection.Encoding }>("schema", "Encodings")
      const pair = yield* Testing.makePair()
      const Point = Schema.Struct({ x: Schema.Finite, y: Schema.Finite })
      const typed = (connection: Shape) =>
        TypedConnection.make(connection, { receives: Point, sends: Point, encoding: messagePack })
      yield* typed(pair.client).send({ x: 1, y: 2.5 })
      assert.deepStrictEqual(yield* typed(pair.server).receive, { x: 1, y: 2.5 })
      yield* pair.client.send(Uint8Array.of(0xc1))
      assert.strictEqual((yield* Effect.flip(typed(pair.server).receive)).cause?._tag, "InvalidMessage")
    }))
})

describe("links", () => {
  const pages = ["", "docs", "docs/api", "examples"].flatMap((folder) =>
    readdirSync(join(root, folder)).filter((name) => name.endsWith(".md")).map((name) => join(folder, name))
  )
  const withoutCode = (page: string) => readFileSync(join(root, page), "utf8").replaceAll(/^```[\s\S]*?^```$/gm, "")
  const anchorsOf = (page: string) => {
    const anchor = makeAnchors()
    return new Set(
      Array.from(
        withoutCode(page).matchAll(/^#+ (.+)$/gm),
        ([, heading]) => anchor(heading.replaceAll(/\]\([^)]*\)/g, ""))
      )
    )
  }

  for (const page of pages) {
    it(page, () => {
      for (const [, link] of withoutCode(page).matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^\w+:/.test(link)) continue
        const [path, anchor] = link.split("#")
        const file = path === "" ? page : join(dirname(page), path)
        assert.isTrue(existsSync(join(root, file)), link)
        if (anchor !== undefined) assert.isTrue(anchorsOf(file).has(anchor), link)
      }
    })
  }
})
