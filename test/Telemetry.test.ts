import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Duration, Effect, Exit, Fiber, Metric, Option, Tracer } from "effect"
import { Connection, Frame, Handshake, Telemetry, Transport, WebSocketClient } from "effect-ws"
import { TestClock } from "effect/testing"
import { makePair, makeRaw, settle } from "./support/memory.ts"
import { rawConnect, rawServer, requestText, serve } from "./support/net.ts"
import { ways } from "./support/serverKinds.ts"

/** A program with metrics of its own. */
const metered = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.provideService(effect, Metric.MetricRegistry, new Map())

/** What there is to read: each series as a line, those at zero left out. */
const readings = Effect.map(Metric.snapshot, (snapshots) =>
  Object.fromEntries(snapshots.flatMap((snapshot) => {
    const { role, ...others } = snapshot.attributes ?? {}
    const state = snapshot.state as { readonly value?: number; readonly count?: number }
    const value = state.value ?? state.count ?? 0
    const name = snapshot.id.replace("websocket_", "")
    return value === 0 ? [] : [[[role, name, ...Object.values(others)].join(" "), value]]
  })))

/** Waits until the metrics say something. */
const until = (condition: (read: Record<string, number>) => boolean): Effect.Effect<Record<string, number>> =>
  Effect.flatMap(readings, (read) => condition(read) ? Effect.succeed(read) : Effect.andThen(settle, until(condition)))

describe("the metrics", () => {
  it("metrics have the documented names, and descriptions", () => {
    const metrics = Object.values(Telemetry).flatMap((value) => Metric.isMetric(value) ? [value] : [])
    assert.deepStrictEqual(metrics.map(({ id, type }) => `${type} ${id}`).toSorted(), [
      "Counter websocket_backpressure_seconds",
      "Counter websocket_bytes",
      "Counter websocket_closes",
      "Counter websocket_handshakes",
      "Counter websocket_messages",
      "Counter websocket_topic_gaps",
      "Counter websocket_topic_history_reads",
      "Counter websocket_topic_messages",
      "Gauge websocket_connections",
      "Gauge websocket_topic_channels",
      "Gauge websocket_topic_memory_bytes",
      "Gauge websocket_topic_subscribers",
      "Histogram websocket_ping_seconds"
    ])
    for (const { description, id } of metrics) assert.match(description ?? "", /^[A-Z][A-Za-z ,]{20,}$/, id)
  })

  it.effect("pings are measured from a millisecond to ten seconds", () =>
    Effect.gen(function*() {
      const { buckets } = yield* Metric.value(Telemetry.pingLatency)
      const bounds = buckets.map(([bound]) => bound)
      assert.deepStrictEqual(bounds, [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10])
    }))

  it.effect("counters do not count backwards", () =>
    metered(Effect.gen(function*() {
      const counters = Object.values(Telemetry).flatMap((value) =>
        Metric.isMetric(value) && value.type === "Counter" ? [value as Metric.Counter<number>] : []
      )
      for (const counter of counters) {
        yield* Metric.update(counter, 2)
        yield* Metric.update(counter, -1)
        assert.deepInclude(yield* Metric.value(counter), { count: 2, incremental: true }, counter.id)
      }
    })))
})

/** A tracer that keeps its spans. */
const makeTracer = () => {
  const spans: Array<Tracer.NativeSpan> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  const named = (name: string, kind: string) => spans.find((span) => span.name === name && span.kind === kind)!
  return { spans, tracer, named }
}

const parentOf = (span: Tracer.Span) => Option.getOrUndefined(span.parent)

describe("metrics", () => {
  it.effect("count what connections carry, while they are open and afterwards", () =>
    metered(Effect.gen(function*() {
      yield* Effect.scoped(Effect.gen(function*() {
        const { client, server } = yield* makePair()
        yield* client.sendAll(["12345", "12345"])
        yield* server.receive
        yield* server.send("1")
        yield* client.receive
        assert.deepStrictEqual(yield* readings, {
          "client connections": 1,
          "server connections": 1,
          "client bytes out": 22,
          "server bytes in": 22,
          "client messages out": 2,
          "server messages in": 2,
          "server bytes out": 3,
          "client bytes in": 3,
          "server messages out": 1,
          "client messages in": 1
        })
        yield* client.close(4321)
      }))
      assert.deepStrictEqual(yield* readings, {
        "client closes 4xxx": 1,
        "server closes 4xxx": 1,
        "client bytes out": 30,
        "server bytes in": 30,
        "client messages out": 2,
        "server messages in": 2,
        "server bytes out": 7,
        "client bytes in": 7,
        "server messages out": 1,
        "client messages in": 1
      })
    })))

  it.effect("add up the counters of all connections of a role", () =>
    metered(Effect.gen(function*() {
      for (let i = 0; i < 3; i++) {
        const { client, server } = yield* makePair()
        yield* client.send("x")
        yield* server.receive
        if (i < 2) yield* client.close()
      }
      const read = yield* readings
      assert.deepStrictEqual([read["server messages in"], read["server connections"], read["server closes 1000"]], [
        3,
        1,
        2
      ])
    })))

  it.effect("carry the attributes of the context in which a connection was made", () =>
    metered(Effect.gen(function*() {
      const inTenant = (tenant: string) => Effect.provideService(Metric.CurrentMetricAttributes, { tenant })
      yield* makePair().pipe(inTenant("a"))
      yield* makePair().pipe(inTenant("a"))
      yield* makePair().pipe(inTenant("b"))
      const open = (tenant: string) =>
        Telemetry.connections.pipe(
          Metric.withAttributes({ role: "server" }),
          Metric.value,
          inTenant(tenant),
          Effect.map(({ value }) => value)
        )
      assert.deepStrictEqual([yield* open("a"), yield* open("b")], [2, 1])
    })))

  it.live("carry the attributes that their docstrings name", () =>
    metered(Effect.gen(function*() {
      const server = yield* serve(Effect.flatMap(Connection.Connection, ({ receive }) => receive))
      yield* Effect.scoped(Effect.gen(function*() {
        const client = yield* WebSocketClient.connect(server.url)
        yield* client.ping("")
        yield* client.send("")
        yield* client.closed
      }))
      yield* until((read) => read["server closes 1000"] === 1)
      const names = new Map<string, Set<string>>()
      for (const { attributes, id } of yield* Metric.snapshot) {
        names.set(id, new Set([...names.get(id) ?? [], ...Object.keys(attributes ?? {})]))
      }
      assert.deepStrictEqual(
        Array.from(names, ([id, attributes]) => [id, ...attributes].join(" ")).toSorted(),
        [
          "websocket_backpressure_seconds role direction",
          "websocket_bytes role direction",
          "websocket_closes role code",
          "websocket_connections role",
          "websocket_handshakes role result",
          "websocket_messages role direction",
          "websocket_ping_seconds role"
        ]
      )
    })))

  it.effect("record the latency of pings and keepalives", () =>
    metered(Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", keepalive: { interval: "1 minute" } })
      const ping = yield* Effect.forkChild(connection.ping("a"), { startImmediately: true })
      yield* settle
      yield* TestClock.adjust("2 seconds")
      peer.send(Frame.pong(Buffer.from("not asked for")), Frame.pong(Buffer.from("a")))
      assert.strictEqual(Duration.toMillis(yield* Fiber.join(ping)), 2000)
      // The first comes somewhere in the second half of the interval.
      while (peer.received.length < 2) {
        yield* TestClock.adjust("1 second")
        yield* settle
      }
      peer.send(Frame.pong(peer.received.at(-1)!.payload))
      yield* settle
      const latency = yield* Metric.value(Metric.withAttributes(Telemetry.pingLatency, { role: "server" }))
      assert.deepStrictEqual([latency.count, latency.max], [2, 2])
      const seconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
      assert.deepStrictEqual(latency.buckets.map(([boundary]) => boundary).filter(Number.isFinite), seconds)
      assert.isBelow(latency.min, 1)
    })))

  it.effect("count the seconds in backpressure, during it and afterwards", () =>
    metered(Effect.gen(function*() {
      const { client, server } = yield* makePair({
        server: { inboundHighWaterMark: 100 },
        transport: { highWaterMark: 100 }
      })
      yield* client.send("x".repeat(200))
      yield* settle
      yield* client.send("x".repeat(200))
      yield* settle
      yield* TestClock.adjust("3 seconds")
      const held = { "client backpressure_seconds out": 3, "server backpressure_seconds in": 3 }
      assert.deepInclude(yield* readings, held)
      yield* server.receive
      yield* server.receive
      yield* settle
      yield* TestClock.adjust("3 seconds")
      assert.deepInclude(yield* readings, held)
      // A connection that ends does not wait any more; its peer, that reads nothing, has not seen that yet.
      yield* client.send("x".repeat(200))
      yield* settle
      yield* client.send("x".repeat(200))
      yield* settle
      yield* TestClock.adjust("1 second")
      yield* Effect.forkChild(client.close())
      yield* settle
      yield* TestClock.adjust("1 minute")
      assert.deepInclude(yield* readings, {
        "client backpressure_seconds out": 14,
        "server backpressure_seconds in": 64,
        "client closes 1000": 1
      })
    })))

  it.live("count failed handshakes by error", () =>
    metered(Effect.gen(function*() {
      const asked = yield* Deferred.make<void>()
      const server = yield* serve(Effect.never, {
        path: "/here",
        serve: {
          decide: ({ query }) =>
            query.get("slow") === null
              ? Effect.succeed(Handshake.reject({ status: 429 }))
              : Effect.andThen(Deferred.succeed(asked, undefined), Effect.never)
        }
      })
      const url = `${server.url}`
      yield* Effect.flip(WebSocketClient.connect(url))
      yield* Effect.flip(WebSocketClient.connect(url.replace("here", "there")))
      yield* Effect.flip(WebSocketClient.connect("nonsense"))
      const impatient = yield* rawConnect(server.port)
      impatient.write(requestText({}, "GET /here?slow HTTP/1.1"))
      yield* Deferred.await(asked)
      impatient.socket.resetAndDestroy()
      assert.deepStrictEqual(yield* until((read) => read["server handshakes Interrupted"] === 1), {
        "server handshakes 429": 1,
        "server handshakes 404": 1,
        "server handshakes Interrupted": 1,
        "client handshakes 429": 1,
        "client handshakes 404": 1,
        "client handshakes InvalidUrl": 1
      })
    })))

  for (const [way, serveBy] of Object.entries(ways)) {
    it.live(`count handshakes by result: ${way}`, () =>
      metered(Effect.gen(function*() {
        const asked = yield* Deferred.make<void>()
        const port = yield* serveBy(Effect.never, {
          maxConnections: 1,
          decide: ({ query }) =>
            query.get("slow") === null
              ? Effect.succeed(Handshake.reject({ status: 429 }))
              : Effect.andThen(Deferred.succeed(asked, undefined), Effect.never)
        })
        yield* Effect.flip(WebSocketClient.connect(`ws://127.0.0.1:${port}/`))
        const impatient = yield* rawConnect(port)
        impatient.write(requestText({}, "GET /?slow HTTP/1.1"))
        yield* Deferred.await(asked)
        yield* Effect.flip(WebSocketClient.connect(`ws://127.0.0.1:${port}/`))
        impatient.socket.resetAndDestroy()
        assert.deepStrictEqual(yield* until((read) => read["server handshakes Interrupted"] === 1), {
          "server handshakes 429": 1,
          "server handshakes 503": 1,
          "server handshakes Interrupted": 1,
          "client handshakes 429": 1,
          "client handshakes 503": 1
        })
      })))
  }

  it.live("count attempts of a client that are interrupted, redirected, or die", () =>
    metered(Effect.gen(function*() {
      const { port } = yield* rawServer(({ socket }) => {
        socket.once("data", (data) => {
          if (data.includes("/elsewhere")) {
            socket.end("HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n")
          }
        })
      })
      const connecting = yield* Effect.forkChild(WebSocketClient.connect(`ws://127.0.0.1:${port}/`))
      yield* settle
      yield* Fiber.interrupt(connecting)
      yield* Effect.flip(WebSocketClient.connect(`ws://127.0.0.1:${port}/elsewhere`))
      const broken = { connect: () => Effect.die(new Error("a client that dies")) }
      yield* Effect.exit(
        Effect.provideService(WebSocketClient.connect("ws://x"), WebSocketClient.WebSocketClient, broken)
      )
      assert.deepStrictEqual(yield* readings, {
        "client handshakes Interrupted": 1,
        "client handshakes 302": 1,
        "client handshakes Defect": 1
      })
    })))
})

describe("spans", () => {
  it.live("spans and errors of a client contain no user, password, query or fragment of the URL", () =>
    Effect.gen(function*() {
      const { spans, tracer } = makeTracer()
      const duplex = () => Effect.fail(Object.assign(new Error("no stream"), { code: "ENOSTREAM" }))
      const connect = (url: string | URL) =>
        Effect.scoped(WebSocketClient.connect(url, { duplex })).pipe(Effect.provideService(Tracer.Tracer, tracer))
      for (
        const url of [
          "ws://user:secret@host/path",
          "ws://secret@host/path?secret",
          "ws://host/path?token=secret",
          "ws://user:1/secret@host/path",
          "ws://user/secret@more/secret@host/path",
          "ws://user:#secret@host/path",
          "ws://user:secret#@host/path",
          "ws://user:secret@host/path#secret",
          "secret:secret@host"
        ]
      ) {
        for (const form of URL.canParse(url) ? [url, new URL(url)] : [url]) {
          const error = yield* Effect.flip(connect(form))
          assert.notInclude(`${error.message}${String(error)}${JSON.stringify(error)}`, "secret", url)
        }
      }
      assert.strictEqual(spans.length, 17)
      for (const span of spans) assert.notInclude(JSON.stringify([...span.attributes]), "secret")
      assert.deepInclude(Object.fromEntries(spans[0].attributes), { "server.address": "host", "url.path": "/path" })
    }))

  const exchange = Effect.scoped(Effect.gen(function*() {
    let inHandler: Tracer.AnySpan | undefined
    let headers: Handshake.Headers = {}
    const server = yield* serve(Effect.gen(function*() {
      inHandler = Option.getOrUndefined(yield* Effect.serviceOption(Tracer.ParentSpan))
      const connection = yield* Connection.Connection
      headers = connection.request.headers
      yield* connection.receive
    }))
    yield* Effect.scoped(Effect.gen(function*() {
      const client = yield* WebSocketClient.connect(`${server.url}/chat?token=secret`, { protocols: [] })
      yield* client.send("hello")
      yield* client.closed
    }))
    return { inHandler, headers }
  }))

  it.live("one trace contains the program of the client, both handshakes and the handler", () =>
    Effect.gen(function*() {
      const { named, spans, tracer } = makeTracer()
      const { headers, inHandler } = yield* exchange.pipe(
        Effect.withSpan("program"),
        Effect.provideService(Tracer.Tracer, tracer)
      )
      const program = named("program", "internal")
      const asked = named("websocket.handshake", "client")
      const answered = named("websocket.handshake", "server")
      const clients = named("websocket.connection", "client")
      const servers = named("websocket.connection", "server")
      assert.strictEqual(spans.length, 5)
      assert.strictEqual(parentOf(asked), program)
      assert.strictEqual(parentOf(clients), asked)
      assert.strictEqual(headers["traceparent"], `00-${program.traceId}-${asked.spanId}-01`)
      assert.deepInclude(parentOf(answered), { _tag: "ExternalSpan", traceId: program.traceId, spanId: asked.spanId })
      assert.strictEqual(parentOf(servers), answered)
      assert.strictEqual(inHandler, servers)
      for (const span of spans) assert.isTrue(span.status._tag === "Ended" && Exit.isSuccess(span.status.exit))
      assert.deepStrictEqual(Object.fromEntries(asked.attributes), {
        "server.address": "127.0.0.1",
        "url.path": "/chat",
        "websocket.handshake.result": "101"
      })
      assert.deepInclude(Object.fromEntries(answered.attributes), {
        "url.path": "/chat",
        "websocket.handshake.result": "101"
      })
      const { "client.address": address, "websocket.key": key, ...ofServer } = Object.fromEntries(servers.attributes)
      assert.strictEqual(address, "127.0.0.1")
      assert.deepInclude(Object.fromEntries(clients.attributes), {
        "server.address": "127.0.0.1",
        "url.path": "/chat",
        "websocket.key": key
      })
      assert.deepInclude(ofServer, {
        "url.path": "/chat",
        "websocket.close.code": 1000,
        "websocket.messages.in": 1,
        "websocket.messages.out": 0
      })
    }))

  it.live("no span is created without a tracer, or if tracing is disabled", () =>
    Effect.gen(function*() {
      const { headers, inHandler } = yield* exchange
      assert.deepStrictEqual([headers["traceparent"], inHandler], [undefined, undefined])
      const { spans, tracer } = makeTracer()
      const disabled = yield* exchange.pipe(
        Effect.withTracerEnabled(false),
        Effect.provideService(Tracer.Tracer, tracer)
      )
      assert.deepStrictEqual([disabled.headers["traceparent"], disabled.inHandler], [undefined, undefined])
      assert.strictEqual(spans.length, 0)
    }))

  it.live("a client without a tracer sends the trace context of its program, unless send is false", () =>
    Effect.gen(function*() {
      const heard: Array<Handshake.Headers> = []
      const server = yield* serve(Effect.never, {
        serve: {
          decide: (request) => {
            heard.push(request.headers)
            return Effect.succeed(Handshake.reject({ status: 403 }))
          }
        }
      })
      const parent = (annotations = Context.empty()) =>
        Tracer.externalSpan({ traceId: "a".repeat(32), spanId: "b".repeat(16), sampled: true, annotations })
      const ask = (options?: WebSocketClient.ConnectOptions) =>
        Effect.flip(WebSocketClient.connect(server.url, options))
      yield* Effect.withParentSpan(ask(), parent())
      yield* Effect.withParentSpan(ask({ headers: { TraceParent: "mine" } }), parent())
      yield* Effect.withParentSpan(ask(), parent(Context.make(Tracer.DisablePropagation, true)))
      yield* Effect.withParentSpan(ask(), parent()).pipe(
        Effect.provideService(Telemetry.TraceContext, { accept: true, send: false })
      )
      const unsampled = Tracer.externalSpan({ traceId: "c".repeat(16), spanId: "b".repeat(16), sampled: false })
      yield* Effect.withParentSpan(ask(), unsampled)
      const traceparent = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`
      assert.deepStrictEqual(heard.map((headers) => headers["traceparent"]), [
        traceparent,
        "mine",
        undefined,
        undefined,
        `00-${"0".repeat(16)}${"c".repeat(16)}-${"b".repeat(16)}-00`
      ])
    }))

  it.live("a server with accept: false begins a new trace", () =>
    Effect.gen(function*() {
      const { named, tracer } = makeTracer()
      yield* exchange.pipe(
        Effect.provideService(Telemetry.TraceContext, { accept: false, send: true }),
        Effect.withSpan("program"),
        Effect.provideService(Tracer.Tracer, tracer)
      )
      assert.strictEqual(parentOf(named("websocket.handshake", "server")), undefined)
    }))

  it.effect("the span of a connection has what it carried in each direction", () =>
    Effect.gen(function*() {
      const { named, tracer } = makeTracer()
      yield* Effect.scoped(Effect.gen(function*() {
        const { client, server } = yield* makePair()
        yield* client.sendAll(["12345", "12345"])
        yield* server.receive
        yield* server.send("1")
        yield* client.receive
        yield* client.close(4321)
      })).pipe(Effect.provideService(Tracer.Tracer, tracer))
      const carried = (role: string) =>
        Object.fromEntries(
          [...named("websocket.connection", role).attributes].filter(([name]) => /bytes|messages|code/.test(name))
        )
      assert.deepStrictEqual(carried("client"), {
        "websocket.close.code": 4321,
        "websocket.bytes.in": 7,
        "websocket.bytes.out": 30,
        "websocket.messages.in": 1,
        "websocket.messages.out": 2
      })
      assert.deepStrictEqual(carried("server"), {
        "websocket.close.code": 4321,
        "websocket.bytes.in": 30,
        "websocket.bytes.out": 7,
        "websocket.messages.in": 2,
        "websocket.messages.out": 1
      })
    }))

  it.effect("the span of a connection has the cause of its failure", () =>
    Effect.gen(function*() {
      const { named, tracer } = makeTracer()
      yield* Effect.scoped(Effect.gen(function*() {
        const [ours, theirs] = yield* Transport.makePair()
        const connection = yield* Connection.make(ours, {
          role: "server",
          keepalive: false,
          handshake: {
            request: {} as Handshake.Request,
            responseHeaders: {},
            rawResponseHeaders: [],
            subprotocol: "v1"
          }
        })
        theirs.destroy()
        yield* connection.closed
      })).pipe(Effect.provideService(Tracer.Tracer, tracer))
      const { attributes, status } = named("websocket.connection", "server")
      assert.isTrue(status._tag === "Ended" && Exit.isFailure(status.exit))
      assert.deepInclude(Object.fromEntries(attributes), {
        "websocket.close.code": 1006,
        "websocket.close.cause": "UnexpectedEof",
        "websocket.subprotocol": "v1"
      })
    }))
})
