/** The failures of a reconnecting client: which are final, and what their types say. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Data, type Duration, Effect, Fiber, Schedule } from "effect"
import { ConnectionError, HandshakeError, Reconnecting, Wake, WebSocketClient } from "effect-ws"
import { TestClock } from "effect/testing"
import { settle } from "../support/memory.ts"
import { collect, everySecond, network, refused, rejected, second, stateOf } from "../support/reconnecting.ts"

describe("invalid options", () => {
  for (
    const [option, options] of [
      ["resetAfter", { resetAfter: -1 }],
      ["resetAfter", { resetAfter: "soon" as Duration.Input }],
      ["maxRetryAfter", { maxRetryAfter: -1 }],
      ["whileDisconnected.buffer.messages", { whileDisconnected: { buffer: { messages: Number.NaN } } }],
      ["whileDisconnected.buffer.messages", { whileDisconnected: { buffer: { messages: -1 } } }],
      ["whileDisconnected.buffer.bytes", { whileDisconnected: { buffer: { messages: 1, bytes: Number.NaN } } }],
      ["whileHidden.closeAfter", { whileHidden: { closeAfter: -1 } }],
      ["fastFailures.max", { fastFailures: { max: 0 } }],
      ["fastFailures.within", { fastFailures: { max: 1, within: 0 } }],
      ["heartbeat.interval", { heartbeat: { message: "ping", interval: 0 } }],
      ["heartbeat.timeout", { heartbeat: { message: "ping", timeout: Number.NaN } }]
    ] as const
  ) {
    it.effect(`fails with InvalidOption before the first attempt: ${JSON.stringify(options)}`, () =>
      Effect.gen(function*() {
        const { attempts, layer } = yield* network()
        const client = yield* Effect.provide(WebSocketClient.reconnecting("ws://there/", options), layer)
        assert.deepInclude(yield* Effect.flip(client.closed), { _tag: "InvalidOption", option })
        assert.deepInclude((yield* Effect.flip(client.send("x"))).cause, { _tag: "InvalidOption", option })
        assert.strictEqual(attempts(), 0)
      }))
  }
})

describe("the errors of a client's own effects", () => {
  class NoToken extends Data.TaggedError("NoToken")<{}> {}

  it.effect("the type leaves out the errors that every client has", () =>
    Effect.gen(function*() {
      const { layer } = yield* network()
      yield* Effect.gen(function*() {
        // That these compile is the test: the type of the state is invariant.
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

describe("isFinal", () => {
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
    ["a close by the client", normalClosure("local", 1000), false],
    ["a lost connection", cutOff, false]
  ]
  for (const [name, failure, final] of cases) {
    it(`isFinal(${name}) is ${final}`, () => {
      assert.strictEqual(Reconnecting.isFinal(failure), final)
    })
  }

  it("isFinal is false for an error of the program", () => {
    assert.isFalse(Reconnecting.isFinal("no token"))
    assert.isFalse(Reconnecting.isFinal(new Error("no token")))
  })

  it.effect("a 401 ends the client, and all operations fail with the reason", () =>
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
        assert.match(error.message, /stopped reconnecting: the server rejected the handshake with status 401/)
      }
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(attempts(), 2)
    }))

  it.effect("isFinal of the options replaces the default", () =>
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

  it.effect("the last failure is final once the schedule ends", () =>
    Effect.gen(function*() {
      const { attempts, layer } = yield* network(refused, refused, refused, refused)
      const schedule = Schedule.recurs(2)
      const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule }).pipe(Effect.provide(layer))
      assert.strictEqual(yield* Effect.flip(client.closed), refused)
      assert.strictEqual(attempts(), 3)
    }))

  it.effect("isFinal may be an effect, with the errors and services of its own", () =>
    Effect.gen(function*() {
      class Login extends Context.Service<Login, { readonly isRejected: Effect.Effect<boolean> }>()("test/Login") {}
      class NoServer extends Data.TaggedError("NoServer")<{}> {}
      const asked: Array<string> = []
      const { attempts, layer } = yield* network(refused, refused, rejected(503))
      const client: Reconnecting.Reconnecting<NoServer> = yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: everySecond,
        isFinal: (failure): Effect.Effect<boolean, NoServer, Login> => {
          asked.push(failure._tag)
          return failure._tag === "ConnectFailed"
            ? Effect.flatMap(Login, (login) => login.isRejected)
            : Effect.fail(new NoServer())
        }
      }).pipe(
        Effect.provide(layer),
        Effect.provideService(Login, { isRejected: Effect.sync(() => asked.length > 5) })
      )
      yield* second
      yield* second
      assert.deepStrictEqual([attempts(), asked], [3, ["ConnectFailed", "ConnectFailed", "HandshakeRejected"]])
      assert.instanceOf(yield* Effect.flip(client.closed), NoServer)
    }))
})

describe("fastFailures", () => {
  /** The number of attempts of a client that cannot connect, until it gives up or a minute has passed. */
  const attemptsOf = (
    fastFailures: Reconnecting.Options["fastFailures"],
    connect: Effect.Effect<never, HandshakeError.ConnectError>,
    signal?: Wake.Signal
  ) =>
    Effect.gen(function*() {
      let attempts = 0
      const wake = yield* Wake.make
      if (signal !== undefined) yield* wake.signal(signal)
      const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: everySecond, fastFailures }).pipe(
        Effect.provideService(WebSocketClient.WebSocketClient, {
          connect: () => {
            attempts++
            return connect
          }
        }),
        Effect.provide(Wake.layer(wake))
      )
      yield* TestClock.adjust("59.5 seconds")
      yield* settle
      return [attempts, stateOf(client)._tag]
    })

  it.effect("gives up after this many attempts that fail fast, one after the other", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* attemptsOf({ max: 3 }, Effect.fail(refused)), [3, "Closed"])
      assert.deepStrictEqual(yield* attemptsOf(undefined, Effect.fail(refused)), [60, "Waiting"])
    }))

  it.effect("does not count slow failures, failures with a reason, and failures without a network", () =>
    Effect.gen(function*() {
      const slow = Effect.andThen(Effect.sleep("2 seconds"), Effect.fail(refused))
      assert.deepStrictEqual(yield* attemptsOf({ max: 3, within: "1 second" }, slow), [20, "Waiting"])
      assert.deepStrictEqual(yield* attemptsOf({ max: 3 }, Effect.fail(rejected(503))), [60, "Waiting"])
      assert.deepStrictEqual(yield* attemptsOf({ max: 3 }, Effect.fail(refused), "offline"), [60, "Waiting"])
    }))
})
