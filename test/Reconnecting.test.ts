/** The client that connects again: over pairs in memory and a test clock, and once over real sockets. */
import { assert, describe, it } from "@effect/vitest"
import {
  Clock,
  Context,
  Data,
  Duration,
  Effect,
  Exit,
  Fiber,
  Latch,
  Layer,
  Option,
  Schedule,
  Scheduler,
  Scope,
  Stream,
  SubscriptionRef
} from "effect"
import {
  CloseCode,
  Connection,
  ConnectionError,
  HandshakeError,
  Message,
  Reconnecting,
  Transport,
  WebSocketClient
} from "effect-ws"
import { TestClock } from "effect/testing"
import { contentOf, settle, type Shape } from "./support/memory.ts"
import { rawServer, serve } from "./support/net.ts"
import { countingFibers, eventually } from "./support/resources.ts"
import { interruptAtEachStep } from "./support/interruptAtEachStep.ts"

interface Server {
  readonly connection: Shape
  readonly transport: Transport.Transport
  readonly url: string
  readonly headers: unknown
}

const refused = new HandshakeError.ConnectFailed({
  phase: "connect",
  addresses: [],
  url: "ws://there/",
  code: "ECONNREFUSED",
  cause: new Error("connect ECONNREFUSED")
})
const rejected = (status: number, headers: Readonly<Record<string, string>> = {}) =>
  new HandshakeError.HandshakeRejected({ status, headers, rawHeaders: [], body: "" })

/**
 * A network without one: each attempt either fails with the next of the given
 * failures, or ends at a server's connection, which is put into `servers`.
 */
const network = (...failures: ReadonlyArray<HandshakeError.ConnectError | undefined>) =>
  Effect.map(Effect.scope, (scope) => {
    const servers: Array<Server> = []
    let attempts = 0
    const connect: WebSocketClient.WebSocketClient["connect"] = (url, options) =>
      Effect.gen(function*() {
        const failure = failures[attempts++]
        if (failure !== undefined) return yield* Effect.fail(failure)
        const [left, right] = yield* Transport.makePair()
        const connection = yield* Connection.make(right, { keepalive: false, role: "server" }).pipe(
          Scope.provide(scope),
          // The server does not go step by step when the client does.
          Effect.provideService(Scheduler.Scheduler, new Scheduler.MixedScheduler())
        )
        servers.push({ connection, transport: right, url: String(url), headers: options?.headers })
        return yield* Connection.make(left, { keepalive: false, ...options, role: "client" })
      }).pipe(Effect.uninterruptible)
    return { servers, attempts: () => attempts, layer: Layer.succeed(WebSocketClient.WebSocketClient, { connect }) }
  })

const everySecond = Schedule.spaced("1 second")

/** Lets everything happen, with a second passing. */
const second = Effect.andThen(settle, Effect.andThen(TestClock.adjust("1 second"), settle))

/** Keeps all that comes, and how it ends. */
const collect = <E>(client: Reconnecting.Reconnecting<E>) =>
  Effect.gen(function*() {
    const messages: Array<unknown> = []
    const fiber = yield* Effect.forkScoped(
      Stream.runForEach(client.messages, (message) => Effect.sync(() => messages.push(contentOf(message))))
    )
    return { messages, fiber }
  })

/** A client whose first attempt was refused, and that keeps four sends until the next. */
const keepingFour = Effect.gen(function*() {
  const { layer, servers } = yield* network(refused)
  const client = yield* WebSocketClient.reconnecting("ws://there/", {
    schedule: everySecond,
    whileDisconnected: { buffer: 4 }
  }).pipe(Effect.provide(layer))
  return { client, servers }
})

const receive = (server: Server) => Effect.map(server.connection.receive, contentOf)

const stateOf = <E>(client: Reconnecting.Reconnecting<E>) => SubscriptionRef.getUnsafe(client.state)

/** Keeps all states, from the first on. */
const watchStates = <E>(client: Reconnecting.Reconnecting<E>) =>
  Effect.gen(function*() {
    const states: Array<string> = []
    yield* Effect.forkScoped(
      Stream.runForEach(SubscriptionRef.changes(client.state), (state) =>
        Effect.sync(() =>
          states.push(
            state._tag === "Waiting"
              ? `waiting for ${state.attempt}, ${(state.cause as { readonly _tag: string })._tag}`
              : state._tag === "Connecting"
              ? `connecting, ${state.attempt}`
              : state._tag
          )
        )),
      { startImmediately: true }
    )
    return states
  })

describe("connections, one after the other", () => {
  it.effect("are made on the schedule, and their messages are one stream", () =>
    Effect.gen(function*() {
      const { attempts, layer, servers } = yield* network(refused, rejected(503), undefined, refused)
      const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: everySecond }).pipe(
        Effect.provide(layer)
      )
      const { fiber, messages } = yield* collect(client)
      const states = yield* watchStates(client)
      yield* settle
      assert.strictEqual(attempts(), 1)
      yield* second
      assert.strictEqual(attempts(), 2)
      yield* second
      assert.strictEqual(servers.length, 1)
      yield* servers[0].connection.sendAll(["a", "b"])
      yield* settle
      servers[0].transport.destroy()
      yield* second
      yield* second
      yield* servers[1].connection.send("c")
      yield* settle
      assert.deepStrictEqual(messages, ["a", "b", "c"])
      const { stats } = yield* client.connection
      assert.strictEqual((yield* stats).messagesIn, 1)
      yield* servers[1].connection.close()
      yield* Fiber.join(fiber)
      yield* client.closed
      assert.deepStrictEqual(states, [
        "connecting, 1",
        "waiting for 2, ConnectFailed",
        "connecting, 2",
        "waiting for 3, HandshakeRejected",
        "connecting, 3",
        "Open",
        "waiting for 4, ConnectionClosed",
        "connecting, 4",
        "waiting for 5, ConnectFailed",
        "connecting, 5",
        "Open",
        "Closed"
      ])
    }))

  it.effect("the default schedule waits longer each time, and begins anew after a connection that lasted", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network(refused, refused, refused)
      const client = yield* Effect.provide(WebSocketClient.reconnecting("ws://there/"), layer)
      const delays: Array<number> = []
      const waitOut = Effect.gen(function*() {
        yield* settle
        const state = stateOf(client)
        if (state._tag !== "Waiting") throw new Error(state._tag)
        delays.push(Duration.toMillis(state.delay))
        yield* TestClock.adjust(state.delay)
        yield* settle
        return state.attempt
      })
      assert.deepStrictEqual([yield* waitOut, yield* waitOut, yield* waitOut], [2, 3, 4])
      servers[0].transport.destroy()
      assert.strictEqual(yield* waitOut, 5)
      yield* TestClock.adjust("6 seconds")
      servers[1].transport.destroy()
      assert.strictEqual(yield* waitOut, 1)
      for (const [i, base] of [500, 1000, 2000, 4000, 500].entries()) {
        assert.isAtLeast(delays[i], base * 0.8)
        assert.isAtMost(delays[i], base * 1.2)
      }
    }))

  it.effect("what the last one got is read before the next one's", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: everySecond }).pipe(
        Effect.provide(layer)
      )
      yield* settle
      yield* servers[0].connection.sendAll(["a", "b"])
      yield* settle
      servers[0].transport.destroy()
      yield* second
      yield* servers[1].connection.send("c")
      const { messages } = yield* collect(client)
      yield* settle
      assert.deepStrictEqual(messages, ["a", "b", "c"])
    }))

  it.effect("that nobody reads are forgotten, but for the last few", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: everySecond }).pipe(
        Effect.provide(layer)
      )
      for (let i = 0; i < 10; i++) {
        yield* settle
        yield* servers[i].connection.send(String(i))
        yield* settle
        servers[i].transport.destroy()
        yield* second
      }
      const { messages } = yield* collect(client)
      yield* settle
      assert.deepStrictEqual(messages, ["3", "4", "5", "6", "7", "8", "9"])
    }))

  it.effect("the next does not wait until the last is gone", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: everySecond }).pipe(
        Effect.provide(layer)
      )
      yield* settle
      const first = yield* client.connection
      // The peer answers the close frame, and never ends the transport: the deadline is 10 seconds.
      yield* Effect.forkScoped(first.close(4000))
      yield* settle
      yield* second
      assert.strictEqual(servers.length, 2)
    }))

  it.effect("URL and headers are made anew for each", () =>
    Effect.gen(function*() {
      class Tokens extends Context.Service<Tokens, { readonly next: Effect.Effect<string> }>()("test/Tokens") {}
      let count = 0
      const { layer, servers } = yield* network()
      yield* WebSocketClient.reconnecting(Effect.sync(() => `ws://host-${++count}/`), {
        schedule: everySecond,
        headers: Effect.map(Effect.flatMap(Tokens, (tokens) => tokens.next), (token) => ({ Authorization: token }))
      }).pipe(
        Effect.provide(layer),
        Effect.provideService(Tokens, { next: Effect.sync(() => `token-${count}`) })
      )
      yield* settle
      servers[0].transport.destroy()
      yield* second
      assert.deepStrictEqual(servers.map(({ headers, url }) => [url, headers]), [
        ["ws://host-1/", { Authorization: "token-1" }],
        ["ws://host-2/", { Authorization: "token-2" }]
      ])
    }))
})

describe("resetAfter", () => {
  /** Opens connections that last for so many milliseconds each; returns how many attempts each next one was. */
  const attemptsAfter = (lasting: ReadonlyArray<number>, resetAfter?: Duration.Input) =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const client = yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: Schedule.exponential("1 second"),
        resetAfter
      }).pipe(Effect.provide(layer))
      const seen: Array<readonly [attempt: number, delay: number]> = []
      for (const millis of lasting) {
        yield* settle
        yield* TestClock.adjust(millis)
        servers.at(-1)!.transport.destroy()
        yield* settle
        const state = stateOf(client)
        if (state._tag !== "Waiting") throw new Error(state._tag)
        seen.push([state.attempt, Duration.toMillis(state.delay)])
        yield* TestClock.adjust(state.delay)
      }
      return seen
    })

  it.effect("begins the schedule and the attempts anew after a connection that was open for so long, and no shorter", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* attemptsAfter([0, 59_999, 60_000, 59_999], "1 minute"), [
        [2, 1000],
        [3, 2000],
        [1, 1000],
        [2, 2000]
      ])
    }))

  it.effect("is 5 seconds by default", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* attemptsAfter([4999, 5000]), [[2, 1000], [1, 1000]])
    }))

  it.effect("says nothing of attempts that fail after such a connection", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network(undefined, refused, refused)
      const client = yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: Schedule.exponential("1 second")
      }).pipe(Effect.provide(layer))
      const states = yield* watchStates(client)
      yield* settle
      yield* TestClock.adjust("1 minute")
      servers[0].transport.destroy()
      yield* settle
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(states.filter((state) => state.startsWith("waiting")), [
        "waiting for 1, ConnectionClosed",
        "waiting for 2, ConnectFailed",
        "waiting for 3, ConnectFailed"
      ])
    }))

  it.effect("does not count the time that the system's clock was set forward or back", () =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      const { layer, servers } = yield* network()
      let ahead = 0
      const adjusted = Object.create(clock, {
        currentTimeMillisUnsafe: { value: () => clock.currentTimeMillisUnsafe() + ahead },
        currentTimeMillis: { value: Effect.sync(() => clock.currentTimeMillisUnsafe() + ahead) }
      }) as Clock.Clock
      const client = yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: Schedule.max([Schedule.exponential("1 second"), Schedule.during("1 hour")])
      }).pipe(Effect.provide(layer), Effect.provideService(Clock.Clock, adjusted))
      const attempts: Array<number> = []
      const hours = 3_600_000
      for (const [jump, lasting] of [[12 * hours, 0], [12 * hours, 0], [-48 * hours, 6000]]) {
        yield* settle
        ahead += jump
        yield* TestClock.adjust(lasting)
        servers.at(-1)!.transport.destroy()
        yield* settle
        const state = stateOf(client)
        if (state._tag !== "Waiting") throw new Error(state._tag)
        attempts.push(state.attempt)
        yield* TestClock.adjust(state.delay)
      }
      assert.deepStrictEqual(attempts, [2, 3, 1])
    }))
})

describe("Retry-After", () => {
  /** How long a client waits after a failure, in milliseconds. The schedule says 2 seconds. */
  const delayAfter = (failure: HandshakeError.ConnectError, options?: WebSocketClient.ReconnectingOptions) =>
    Effect.gen(function*() {
      const { attempts, layer, servers } = yield* network(failure)
      const client = yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: Schedule.spaced("2 seconds"),
        ...options
      }).pipe(Effect.provide(layer))
      yield* settle
      const state = stateOf(client)
      if (state._tag !== "Waiting") throw new Error(state._tag)
      const millis = Duration.toMillis(state.delay)
      // It waits for as long as it says.
      yield* TestClock.adjust(millis - 1)
      yield* settle
      assert.strictEqual(attempts(), 1)
      yield* TestClock.adjust(1)
      yield* settle
      assert.strictEqual(servers.length, 1)
      return millis
    })
  const within = (millis: number, least: number) => {
    assert.isAtLeast(millis, least)
    assert.isAtMost(millis, least * 1.2 + 1)
  }

  for (const status of [429, 503]) {
    it.effect(`of a ${status} delays the next attempt for so many seconds, and up to a fifth more`, () =>
      Effect.gen(function*() {
        const delays: Array<number> = []
        for (let i = 0; i < 5; i++) delays.push(yield* delayAfter(rejected(status, { "retry-after": "30" })))
        for (const delay of delays) within(delay, 30_000)
        assert.isAbove(new Set(delays).size, 1)
      }))
  }

  it.effect("may be a date, by the Clock", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.UTC(2030, 0, 1))
      const date = new Date(Date.UTC(2030, 0, 1, 0, 1)).toUTCString()
      within(yield* delayAfter(rejected(503, { "retry-after": date })), 60_000)
      // By now it has passed.
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* delayAfter(rejected(503, { "retry-after": date })), 2000)
    }))

  it.effect("does not shorten the schedule's delay", () =>
    Effect.gen(function*() {
      for (const value of ["0", "1"]) {
        assert.strictEqual(yield* delayAfter(rejected(503, { "retry-after": value })), 2000)
      }
    }))

  it.effect("that is invalid is ignored", () =>
    Effect.gen(function*() {
      for (const value of ["", "-30", "30s", "1.5", "soon", "30, 30"]) {
        assert.strictEqual(yield* delayAfter(rejected(429, { "retry-after": value })), 2000)
      }
    }))

  it.effect("is honored up to maxRetryAfter, by default 5 minutes", () =>
    Effect.gen(function*() {
      const forever = rejected(503, { "retry-after": "9".repeat(400) })
      within(yield* delayAfter(forever), 300_000)
      within(yield* delayAfter(forever, { maxRetryAfter: "1 hour" }), 3_600_000)
      assert.strictEqual(yield* delayAfter(forever, { maxRetryAfter: 0 }), 2000)
    }))

  it.effect("of a redirect counts as well, where the program does not take it for final", () =>
    Effect.gen(function*() {
      const redirected = new HandshakeError.HandshakeRedirected({
        status: 302,
        location: "ws://elsewhere/",
        headers: { "retry-after": "30" },
        rawHeaders: []
      })
      within(yield* delayAfter(redirected, { isFinal: () => false }), 30_000)
    }))

  it.effect("does not make a failure one to try again after", () =>
    Effect.gen(function*() {
      const { attempts, layer } = yield* network(rejected(404, { "retry-after": "1" }), rejected(503))
      const final = yield* Effect.provide(WebSocketClient.reconnecting("ws://there/"), layer)
      assert.deepInclude(yield* Effect.flip(final.closed), { _tag: "HandshakeRejected", status: 404 })
      const done = yield* WebSocketClient.reconnecting("ws://there/", { schedule: Schedule.recurs(0) }).pipe(
        Effect.provide(layer)
      )
      assert.deepInclude(yield* Effect.flip(done.closed), { _tag: "HandshakeRejected", status: 503 })
      assert.strictEqual(attempts(), 2)
    }))
})

describe("options that are invalid", () => {
  for (
    const [option, options] of [
      ["resetAfter", { resetAfter: -1 }],
      ["resetAfter", { resetAfter: "soon" as Duration.Input }],
      ["maxRetryAfter", { maxRetryAfter: -1 }],
      ["whileDisconnected.buffer", { whileDisconnected: { buffer: Number.NaN } }],
      ["whileDisconnected.buffer", { whileDisconnected: { buffer: -1 } }]
    ] as const
  ) {
    it.effect(`end the client before its first attempt: ${JSON.stringify(options)}`, () =>
      Effect.gen(function*() {
        const { attempts, layer } = yield* network()
        const client = yield* Effect.provide(WebSocketClient.reconnecting("ws://there/", options), layer)
        assert.deepInclude(yield* Effect.flip(client.closed), { _tag: "InvalidOption", option })
        assert.deepInclude((yield* Effect.flip(client.send("x"))).cause, { _tag: "InvalidOption", option })
        assert.strictEqual(attempts(), 0)
      }))
  }
})

describe("two that read the messages", () => {
  it.effect("share them: each message goes to one, and both go on with the next connection and to the end", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: everySecond }).pipe(
        Effect.provide(layer)
      )
      const first = yield* collect(client)
      const other = yield* collect(client)
      for (const i of [0, 1]) {
        yield* settle
        for (let n = 0; n < 10; n++) {
          yield* servers[i].connection.send(String(10 * i + n))
          yield* settle
        }
        if (i === 0) servers[0].transport.destroy()
        yield* second
      }
      yield* servers[1].connection.close()
      yield* Fiber.join(first.fiber)
      yield* Fiber.join(other.fiber)
      assert.deepStrictEqual(
        [...first.messages, ...other.messages].map(Number).toSorted((a, b) => a - b),
        Array.from({ length: 20 }, (_, n) => n)
      )
    }))
})

describe("what takes long on a connection that was lost", () => {
  it.effect("leaves the next to all readers", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: everySecond }).pipe(
        Effect.provide(layer)
      )
      const slow = Latch.makeUnsafe(false)
      const reading = yield* Effect.forEach([0, 1], () =>
        Effect.forkScoped(Stream.runForEach(client.messages, () => slow.await)))
      yield* settle
      for (const text of ["a", "b"]) {
        yield* servers[0].connection.send(text)
        yield* settle
      }
      servers[0].transport.destroy()
      yield* second
      // Both find the first connection at its end when the second is open.
      slow.openUnsafe()
      yield* settle
      yield* Effect.forEach(reading, Fiber.interrupt)
      const { messages } = yield* collect(client)
      yield* servers[1].connection.send("c")
      yield* settle
      assert.deepStrictEqual(messages, ["c"])
    }))

  it.effect("leaves the next to all who send", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const { connect } = yield* Effect.provide(WebSocketClient.WebSocketClient, layer)
      const late = Latch.makeUnsafe(false)
      // As with an extension that takes its time: what is sent fails after the end of the connection.
      const delayed: WebSocketClient.WebSocketClient["connect"] = (url, options) =>
        Effect.map(connect(url, options), (connection) => {
          const send: Shape["send"] = (message) => Effect.onError(connection.send(message), () => late.await)
          return Object.create(connection, { send: { value: send } }) as Shape
        })
      const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: everySecond }).pipe(
        Effect.provideService(WebSocketClient.WebSocketClient, { connect: delayed })
      )
      yield* settle
      // It waits for room behind these.
      for (let i = 0; i < 2; i++) {
        yield* client.send("x".repeat(1 << 20))
        yield* settle
      }
      const sending = yield* Effect.forkChild(client.send("a"))
      yield* settle
      servers[0].transport.destroy()
      yield* second
      late.openUnsafe()
      yield* settle
      assert.isDefined(sending.pollUnsafe())
      assert.strictEqual(yield* receive(servers[1]), "a")
      assert.strictEqual(stateOf(client)._tag, "Open")
      assert.isDefined((yield* Effect.forkChild(client.send("b"), { startImmediately: true })).pollUnsafe())
    }))

  it.effect("is waited for by the Scope", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const scope = yield* Scope.make()
      const slow = Latch.makeUnsafe(false)
      yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: everySecond,
        onOpen: () => servers.length === 1 ? Effect.addFinalizer(() => slow.await) : Effect.void
      }).pipe(Effect.provide(layer), Scope.provide(scope))
      yield* settle
      servers[0].transport.destroy()
      yield* second
      assert.strictEqual(servers.length, 2)
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* servers[1].connection.closed
      yield* settle
      assert.isUndefined(closing.pollUnsafe())
      slow.openUnsafe()
      yield* Fiber.join(closing)
    }))
})

describe("the failures of a client's own effects", () => {
  class NoToken extends Data.TaggedError("NoToken")<{}> {}

  it.effect("leave out those of connections, which each client has", () =>
    Effect.gen(function*() {
      const { layer } = yield* network()
      yield* Effect.gen(function*() {
        // That these compile is what is tested: the type of the state allows no other client.
        const sends: Reconnecting.Reconnecting = yield* WebSocketClient.reconnecting("ws://there/", {
          onOpen: (connection) => connection.send("subscribe")
        })
        const receives: Reconnecting.Reconnecting = yield* WebSocketClient.reconnecting("ws://there/", {
          onOpen: (connection) => Effect.andThen(connection.send("login"), connection.receive)
        })
        const asks: Reconnecting.Reconnecting = yield* WebSocketClient.reconnecting(
          Effect.as(WebSocketClient.connect("ws://tickets/"), "ws://there/"),
          { headers: Effect.as(Effect.scoped(WebSocketClient.connect("ws://tickets/")), {}) }
        )
        const fails: Reconnecting.Reconnecting<NoToken> = yield* WebSocketClient.reconnecting("ws://there/", {
          headers: Effect.fail(new NoToken()),
          onOpen: (connection) => connection.send("subscribe")
        })
        for (const client of [sends, receives, asks, fails]) assert.isDefined(client.state)
      }).pipe(Effect.provide(layer))
    }))
})

describe("onOpen", () => {
  it.effect("has each connection to itself, before anything else is sent or read", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const released: Array<number> = []
      const client = yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: everySecond,
        onOpen: (connection) =>
          Effect.gen(function*() {
            const at = servers.length
            yield* Effect.addFinalizer(() => Effect.sync(() => released.push(at)))
            yield* connection.send("login")
            assert.strictEqual(contentOf(yield* connection.receive), "welcome")
          })
      }).pipe(Effect.provide(layer))
      const { messages } = yield* collect(client)
      for (const i of [0, 1]) {
        const sending = yield* Effect.forkChild(client.send("first"))
        yield* settle
        assert.strictEqual(stateOf(client)._tag, "Connecting")
        assert.strictEqual(yield* receive(servers[i]), "login")
        assert.strictEqual((yield* servers[i].connection.stats).messagesIn, 1)
        yield* servers[i].connection.sendAll(["welcome", `news ${i}`])
        assert.strictEqual(yield* receive(servers[i]), "first")
        yield* Fiber.join(sending)
        yield* settle
        assert.strictEqual(stateOf(client)._tag, "Open")
        servers[i].transport.destroy()
        yield* second
      }
      assert.deepStrictEqual(messages, ["news 0", "news 1"])
      assert.deepStrictEqual(released, [1, 2])
    }))

  class Refused extends Data.TaggedError("Refused")<{}> {}

  it.effect("that fails is a failed attempt, and the peer is told 1011", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      let openings = 0
      const client = yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: everySecond,
        onOpen: () => Effect.suspend(() => ++openings === 1 ? Effect.fail(new Refused()) : Effect.void)
      }).pipe(Effect.provide(layer))
      yield* settle
      const state = stateOf(client)
      assert.strictEqual(state._tag === "Waiting" && state.cause._tag, "Refused")
      assert.strictEqual((yield* servers[0].connection.closed).code, CloseCode.InternalError)
      yield* second
      assert.strictEqual(stateOf(client)._tag, "Open")
    }))

  it.effect("that waits is over when its connection is", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const client = yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: everySecond,
        onOpen: () => servers.length === 1 ? Effect.never : Effect.void
      }).pipe(Effect.provide(layer))
      yield* settle
      servers[0].transport.destroy()
      yield* second
      assert.strictEqual(stateOf(client)._tag, "Open")
    }))

  it.effect("that dies ends everything with its defect", () =>
    Effect.gen(function*() {
      const { layer } = yield* network()
      const client = yield* WebSocketClient.reconnecting("ws://there/", {
        onOpen: () => Effect.die("a bug")
      }).pipe(Effect.provide(layer))
      for (
        const effect of [
          client.closed,
          client.send("x"),
          Effect.asVoid(client.connection),
          Stream.runDrain(client.messages)
        ]
      ) {
        const exit = yield* Effect.exit<void, unknown, never>(effect)
        assert.isTrue(Exit.hasDies(exit))
      }
    }))
})

describe("which failures are final", () => {
  const normalClosure = (closedBy: "local" | "remote", code: number) =>
    new ConnectionError.ConnectionClosed({
      sent: { code, reason: "" },
      received: { code, reason: "" },
      closedBy,
      cause: undefined
    })
  const cutOff = new ConnectionError.ConnectionClosed({
    sent: undefined,
    received: undefined,
    closedBy: undefined,
    cause: new ConnectionError.UnexpectedEof()
  })
  const cases: ReadonlyArray<readonly [name: string, failure: Reconnecting.Failure, final: boolean]> = [
    ...[200, 302, 400, 401, 403, 404, 407, 426].map((status) => [`status ${status}`, rejected(status), true] as const),
    ...[408, 425, 429, 500, 502, 503, 504].map((status) => [`status ${status}`, rejected(status), false] as const),
    ["ConnectFailed", refused, false],
    ["InvalidUrl", new HandshakeError.InvalidUrl({ url: "x", problem: "" }), true],
    ["InvalidAccept", new HandshakeError.InvalidAccept({ expected: "a", actual: "b" }), true],
    ["RedirectRefused", new HandshakeError.RedirectRefused({ location: "x", problem: "" }), true],
    ["the peer's 1000", normalClosure("remote", 1000), true],
    ["the peer's close without a code", normalClosure("remote", 1005), true],
    ...[1001, 1008, 1011, 1012, 4000].map((code) =>
      [`the peer's ${code}`, normalClosure("remote", code), false] as const
    ),
    ["a close by this end", normalClosure("local", 1000), false],
    ["a connection cut off", cutOff, false]
  ]
  for (const [name, failure, final] of cases) {
    it(`${name}: ${final ? "final" : "not"}`, () => {
      assert.strictEqual(Reconnecting.isFinal(failure), final)
    })
  }

  it("a failure of the program's own: not", () => {
    assert.isFalse(Reconnecting.isFinal("no token"))
    assert.isFalse(Reconnecting.isFinal(new Error("no token")))
  })

  it.effect("401 ends the client, and all who have to do with it learn why", () =>
    Effect.gen(function*() {
      const { attempts, layer } = yield* network(refused, rejected(401))
      const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: everySecond }).pipe(
        Effect.provide(layer)
      )
      const { fiber } = yield* collect(client)
      const sending = yield* Effect.forkChild(Effect.flip(client.send("x")))
      const waiting = yield* Effect.forkChild(Effect.flip(client.connection))
      yield* second
      assert.strictEqual(yield* Effect.flip(Fiber.join(fiber)), yield* Effect.flip(client.closed))
      assert.deepInclude(yield* Effect.flip(client.closed), { _tag: "HandshakeRejected", status: 401 })
      for (
        const error of [yield* Fiber.join(sending), yield* Fiber.join(waiting), yield* Effect.flip(client.send("y"))]
      ) {
        assert.deepInclude(error, { _tag: "NotConnected", final: true })
        assert.match(error.message, /will be none: the server rejected the handshake with status 401/)
      }
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(attempts(), 2)
    }))

  it.effect("the program may have its own say", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network(rejected(401))
      const client = yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: everySecond,
        isFinal: (failure) => failure instanceof ConnectionError.ConnectionClosed && failure.code === 4001
      }).pipe(Effect.provide(layer))
      const { fiber } = yield* collect(client)
      yield* second
      yield* servers[0].connection.close(4001, "banned")
      assert.deepInclude(yield* Effect.flip(Fiber.join(fiber)), { _tag: "ConnectionClosed", code: 4001 })
    }))

  it.effect("a schedule that is done makes the last one final", () =>
    Effect.gen(function*() {
      const { attempts, layer } = yield* network(refused, refused, refused, refused)
      const schedule = Schedule.recurs(2)
      const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule }).pipe(Effect.provide(layer))
      assert.strictEqual(yield* Effect.flip(client.closed), refused)
      assert.strictEqual(attempts(), 3)
    }))
})

describe("what is sent while there is no connection", () => {
  it.effect("waits, and can be taken back", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network(refused)
      const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: everySecond }).pipe(
        Effect.provide(layer)
      )
      const back = yield* Effect.forkChild(client.send("taken back"))
      const sending = yield* Effect.forkChild(Effect.andThen(client.send("a"), client.sendAll(["b", "c"])))
      yield* settle
      yield* Fiber.interrupt(back)
      yield* second
      yield* Fiber.join(sending)
      assert.deepStrictEqual([yield* receive(servers[0]), yield* receive(servers[0]), yield* receive(servers[0])], [
        "a",
        "b",
        "c"
      ])
    }))

  it.effect("goes over the next when it waited for room on one that was lost", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: everySecond }).pipe(
        Effect.provide(layer)
      )
      yield* settle
      // The peer's inbox is full after the first; the second is on its way.
      for (let i = 0; i < 2; i++) {
        yield* client.send("x".repeat(1 << 20))
        yield* settle
      }
      const sending = yield* Effect.forkChild(Effect.forEach(["a", "b"], (word) => client.send(word)))
      yield* settle
      assert.strictEqual(sending.pollUnsafe(), undefined)
      servers[0].transport.destroy()
      yield* second
      yield* Fiber.join(sending)
      assert.deepStrictEqual([yield* receive(servers[1]), yield* receive(servers[1])], ["a", "b"])
    }))

  it.effect("fails with what there is to know, if it is to fail", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network(refused)
      const client = yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: everySecond,
        whileDisconnected: "fail"
      }).pipe(Effect.provide(layer))
      const first = yield* Effect.flip(client.send("a"))
      assert.deepInclude(first, { _tag: "NotConnected", final: false, cause: undefined })
      assert.strictEqual(first.message, "there is no connection at the moment")
      yield* settle
      assert.strictEqual((yield* Effect.flip(client.send("b"))).cause, refused)
      yield* second
      yield* client.send("c")
      assert.strictEqual(yield* receive(servers[0]), "c")
      servers[0].transport.destroy()
      yield* settle
      assert.deepInclude((yield* Effect.flip(client.sendAll(["d"]))).cause, { _tag: "ConnectionClosed" })
    }))

  it.effect("is kept, in order, as far as there is room, and then waits", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network(refused)
      const client = yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: everySecond,
        whileDisconnected: { buffer: 2 },
        onOpen: (connection) => connection.send("login")
      }).pipe(Effect.provide(layer))
      yield* client.send("a")
      yield* client.sendAll(["b", "c"])
      const third = yield* Effect.forkChild(client.send("d"))
      yield* settle
      assert.strictEqual(third.pollUnsafe(), undefined)
      yield* second
      yield* Fiber.join(third)
      const got: Array<unknown> = []
      for (let i = 0; i < 5; i++) got.push(yield* receive(servers[0]))
      assert.deepStrictEqual(got, ["login", "a", "b", "c", "d"])
    }))

  it.effect("and is nothing to be sent fails at once, whether there is a connection or not, and nothing is kept", () =>
    Effect.gen(function*() {
      const { client, servers } = yield* keepingFour
      const tag = (value: unknown) =>
        Effect.map(
          Effect.flip(client.sendAll([value as string]) as Effect.Effect<void, { readonly _tag: string }>),
          (error) => error._tag
        )
      for (const value of [[1], { length: 200 }, null]) assert.strictEqual(yield* tag(value), "InvalidInput")
      yield* client.send("kept")
      yield* second
      assert.strictEqual(yield* receive(servers[0]), "kept")
      for (const value of [[1], { length: 200 }, null]) assert.strictEqual(yield* tag(value), "InvalidInput")
      yield* client.send("still connected")
      assert.strictEqual(yield* receive(servers[0]), "still connected")
    }))

  it.effect("and is kept may be changed or transferred by the program", () =>
    Effect.gen(function*() {
      const { client, servers } = yield* keepingFour
      const changed = Uint8Array.of(1, 2, 3)
      const transferred = Uint8Array.of(4, 5, 6)
      const text = new TextEncoder().encode("text")
      yield* client.sendAll([changed, transferred, Message.text(text), "string"])
      changed.fill(0)
      text.fill(0)
      structuredClone(transferred.buffer, { transfer: [transferred.buffer] })
      yield* second
      const got: Array<unknown> = []
      for (let i = 0; i < 4; i++) got.push(yield* receive(servers[0]))
      assert.deepStrictEqual(got, [[1, 2, 3], [4, 5, 6], "text", "string"])
    }))

  it.effect("and was kept stays so where the connection is lost before it could go", () =>
    Effect.gen(function*() {
      const { client, servers } = yield* keepingFour
      const large = "x".repeat(1 << 20)
      yield* client.send(large)
      yield* client.send(large)
      yield* client.send("a")
      yield* client.send("b")
      yield* second
      // The peer's inbox is full after the first, the second is on its way, and the others wait for room.
      assert.strictEqual(stateOf(client)._tag, "Connecting")
      servers[0].transport.destroy()
      yield* second
      assert.deepStrictEqual([yield* receive(servers[1]), yield* receive(servers[1])], ["a", "b"])
    }))

  it.effect("and was kept does not hold up what comes, which is read though the connection is lost meanwhile", () =>
    Effect.gen(function*() {
      const { client, servers } = yield* keepingFour
      const first = yield* collect(client)
      const large = "x".repeat(1 << 20)
      for (let i = 0; i < 4; i++) yield* client.send(large)
      yield* second
      // The peer answers what it was sent before it takes more.
      yield* servers[0].connection.send("a")
      yield* settle
      assert.strictEqual(stateOf(client)._tag, "Connecting")
      assert.deepStrictEqual(first.messages, ["a"])
      yield* Fiber.interrupt(first.fiber)
      yield* servers[0].connection.send("b")
      yield* settle
      servers[0].transport.destroy()
      yield* second
      yield* servers[1].connection.send("c")
      const { messages } = yield* collect(client)
      yield* settle
      assert.deepStrictEqual(messages, ["b", "c"])
    }))
})

describe("the Scope", () => {
  it.effect("closes the connection with 1000, ends the streams, and lets go all who wait", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const scope = yield* Scope.make()
      const client = yield* WebSocketClient.reconnecting("ws://there/").pipe(
        Effect.provide(layer),
        Scope.provide(scope)
      )
      const { fiber, messages } = yield* collect(client)
      yield* settle
      yield* servers[0].connection.send("last")
      yield* Scope.close(scope, Exit.void)
      const end = yield* servers[0].connection.closed
      assert.deepStrictEqual([end.code, end.clean], [1000, true])
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(messages, ["last"])
      yield* client.closed
      assert.deepStrictEqual(stateOf(client), { _tag: "Closed", exit: Exit.void })
      assert.deepInclude(yield* Effect.flip(client.send("x")), { _tag: "NotConnected", final: true })
    }))

  it.effect("closed while it waits, or connects, ends it at once", () =>
    Effect.gen(function*() {
      const connecting = Layer.succeed(WebSocketClient.WebSocketClient, { connect: () => Effect.never })
      const waiting = (yield* network(refused)).layer
      for (const layer of [connecting, waiting]) {
        const scope = yield* Scope.make()
        const client = yield* WebSocketClient.reconnecting("ws://there/").pipe(
          Effect.provide(layer),
          Scope.provide(scope)
        )
        const sending = yield* Effect.forkChild(Effect.flip(client.send("x")))
        yield* settle
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual((yield* Fiber.join(sending))._tag, "NotConnected")
        yield* Stream.runDrain(client.messages)
      }
    }))

  it.effect("that takes long to close gives back what a connection had which was lost meanwhile", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const scope = yield* Scope.make()
      const released: Array<string> = []
      const client = yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: everySecond,
        onOpen: () => Effect.addFinalizer(() => Effect.sync(() => released.push("connection")))
      }).pipe(Effect.provide(layer), Scope.provide(scope))
      const slow = Latch.makeUnsafe(false)
      yield* Scope.addFinalizer(scope, slow.await)
      yield* settle
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* settle
      assert.strictEqual(stateOf(client)._tag, "Open")
      servers[0].transport.destroy()
      yield* settle
      slow.openUnsafe()
      yield* Fiber.join(closing)
      assert.deepStrictEqual(released, ["connection"])
    }))

  it.live(
    "interrupted at each step leaves no connection, fiber or acquired resource behind",
    () =>
      Effect.gen(function*() {
        yield* interruptAtEachStep(Effect.gen(function*() {
          const { layer, servers } = yield* network()
          const greet = Effect.suspend(() => servers.at(-1)!.connection.send("welcome"))
          const fibers = countingFibers()
          let held = 0
          let made: Reconnecting.Reconnecting | undefined
          return {
            effect: fibers.counted(
              Effect.scoped(Effect.gen(function*() {
                const client = made = yield* WebSocketClient.reconnecting("ws://there/", {
                  schedule: Schedule.spaced("1 milli"),
                  onOpen: (connection) =>
                    Effect.acquireRelease(Effect.sync(() => held++), () => Effect.sync(() => held--)).pipe(
                      Effect.andThen(connection.send("login")),
                      Effect.andThen(greet)
                    )
                })
                yield* client.send("a")
                yield* Stream.runForEach(Stream.take(client.messages, 1), () => Effect.void)
              })).pipe(Effect.provide(layer))
            ),
            events: [() => servers[0]?.transport.destroy()],
            waits: true,
            verify: () =>
              Effect.gen(function*() {
                yield* Effect.forEach(servers, (server) => server.connection.closed, { discard: true })
                yield* eventually(() => fibers.running() === 0)
                assert.strictEqual(held, 0)
                if (made === undefined) return
                assert.strictEqual(stateOf(made)._tag, "Closed")
                assert.strictEqual((yield* Effect.flip(made.connection))._tag, "NotConnected")
                assert.strictEqual((yield* Effect.flip(made.send("late")))._tag, "NotConnected")
              })
          }
        }))
      }),
    60_000
  )
})

describe("what is done with a client, interrupted at each step,", () => {
  it.live("leaves no fiber, and the client usable; no message is doubled or reordered", () =>
    Effect.gen(function*() {
      const points = yield* interruptAtEachStep(Effect.gen(function*() {
        const { layer, servers } = yield* network()
        const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: Schedule.spaced(0) }).pipe(
          Effect.provide(layer),
          Effect.provideService(Scheduler.Scheduler, new Scheduler.MixedScheduler())
        )
        yield* client.connection
        yield* servers[0].connection.sendAll(["0", "1"])
        const fibers = countingFibers()
        const got: Array<unknown> = []
        const take = (count: number) =>
          Stream.runForEach(
            Stream.take(client.messages, count),
            (message) => Effect.sync(() => got.push(contentOf(message)))
          )
        return {
          effect: fibers.counted(Effect.gen(function*() {
            yield* client.send("a")
            yield* take(2)
            // The first connection is lost meanwhile.
            yield* take(1)
            yield* client.connection
            yield* client.sendAll(["b", "c"])
          })),
          events: [
            () => servers[0].transport.destroy(),
            () => void servers.slice(1).map(({ connection }) => Effect.runFork(connection.send("2")))
          ],
          waits: true,
          verify: () =>
            Effect.gen(function*() {
              yield* eventually(() => servers.length === 2 && stateOf(client)._tag === "Open")
              assert.strictEqual(fibers.running(), 0)
              yield* client.send("last")
              const sent: Array<unknown> = []
              while (sent.at(-1) !== "last") sent.push(yield* receive(servers[1]))
              assert.include(["last", "a,last", "b,c,last"], sent.join())
              yield* servers[1].connection.send("3")
              yield* Stream.runForEach(
                Stream.takeUntil(client.messages, (message) => contentOf(message) === "3"),
                (message) => Effect.sync(() => got.push(contentOf(message)))
              )
              const read = got.map(Number)
              assert.deepStrictEqual(read, [...new Set(read)].toSorted((a, b) => a - b))
            })
        }
      }))
      assert.isAbove(points, 10)
    }), 60_000)
})

describe("over real sockets", () => {
  it.live("a server that stops and starts again on its port", () =>
    Effect.gen(function*() {
      const greet = (name: string) =>
        Effect.gen(function*() {
          const connection = yield* Connection.Connection
          yield* connection.send(`${name}: ${connection.request.headers["x-attempt"]}`)
          yield* Stream.runForEach(connection.messages, connection.send)
        })
      const start = (name: string, port: number) =>
        Effect.gen(function*() {
          const scope = yield* Scope.make()
          const server = yield* Scope.provide(serve(greet(name), { port }), scope)
          return { ...server, stop: Scope.close(scope, Exit.void) }
        })
      const first = yield* start("first", 0)
      let attempt = 0
      const client = yield* WebSocketClient.reconnecting(first.url, {
        schedule: Schedule.spaced("5 millis"),
        // While it stops, the server answers with 503 and a Retry-After.
        maxRetryAfter: 0,
        headers: Effect.sync(() => ({ "X-Attempt": String(++attempt) }))
      })
      const messages: Array<string> = []
      const arrived = (pattern: RegExp) =>
        Effect.repeat(Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve))), {
          until: () => messages.some((message) => pattern.test(message))
        })
      yield* Effect.forkScoped(
        Stream.runForEach(client.messages, (message) => Effect.sync(() => messages.push(String(contentOf(message)))))
      )
      yield* client.send("a")
      yield* arrived(/^a$/)
      yield* first.stop
      const waiting = yield* Effect.forkChild(client.send("b"))
      const again = yield* start("second", first.port)
      yield* Fiber.join(waiting)
      yield* arrived(/^b$/)
      assert.strictEqual(messages[0], "first: 1")
      assert.match(messages[2], /^second: \d+$/)
      assert.deepStrictEqual([messages[1], messages[3]], ["a", "b"])
      yield* again.stop
    }))

  it.live("a server that has no room is asked again no sooner than it says", () =>
    Effect.gen(function*() {
      const { url } = yield* serve(Effect.never, { serve: { maxConnections: 0 } })
      const client = yield* WebSocketClient.reconnecting(url, { schedule: Schedule.spaced("5 millis") })
      const waiting = yield* SubscriptionRef.changes(client.state).pipe(
        Stream.filter((state) => state._tag === "Waiting"),
        Stream.runHead
      )
      const { cause, delay } = Option.getOrThrow(waiting)
      assert.deepInclude(cause, { _tag: "HandshakeRejected", status: 503 })
      assert.isAtLeast(Duration.toMillis(delay), 5000)
      assert.isAtMost(Duration.toMillis(delay), 15_000 * 1.2 + 1)
    }))

  it.live("a wrong answer to the handshake is final", () =>
    Effect.gen(function*() {
      const server = yield* rawServer((peer) =>
        peer.write("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
      )
      const client = yield* WebSocketClient.reconnecting(`ws://127.0.0.1:${server.port}/`)
      assert.deepInclude(yield* Effect.flip(client.closed), { _tag: "HandshakeRejected", status: 401 })
      assert.strictEqual(server.peers.length, 1)
    }))
})
