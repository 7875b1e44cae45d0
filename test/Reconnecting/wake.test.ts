/** A reconnecting client and the signals of a `Wake`. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schedule, SubscriptionRef } from "effect"
import { type HandshakeError, type Reconnecting, Wake, WebSocketClient } from "effect-ws"
import { TestClock } from "effect/testing"
import { settle } from "../support/memory.ts"
import { network, receive, refused, rejected, stateOf, watchStates } from "../support/reconnecting.ts"

type Failures = ReadonlyArray<HandshakeError.ConnectError>

/** A client on this network, and the source of its signals. */
const make = (failures: Failures, options?: Reconnecting.Options, before: ReadonlyArray<Wake.Signal> = []) =>
  Effect.gen(function*() {
    const wake = yield* Wake.make
    yield* Effect.forEach(before, wake.signal)
    const { attempts, layer, servers } = yield* network(...failures)
    const client = yield* WebSocketClient.reconnecting("ws://there/", {
      schedule: Schedule.exponential("10 minutes"),
      ...options
    }).pipe(Effect.provide(Layer.merge(layer, Wake.layer(wake))))
    const states = yield* watchStates(client)
    yield* settle
    return {
      attempts,
      client,
      servers,
      signal: (signal: Wake.Signal) => Effect.andThen(wake.signal(signal), settle),
      states
    }
  })

const pass = (seconds: number) => Effect.andThen(TestClock.adjust(seconds * 1000), settle)

describe("a signal that wakes a client", () => {
  it.effect("ends the wait at once, and starts the schedule anew", () =>
    Effect.gen(function*() {
      const { attempts, client, signal } = yield* make([refused, refused, refused])
      yield* pass(600)
      assert.strictEqual(attempts(), 2)
      assert.deepInclude(stateOf(client), { _tag: "Waiting", attempt: 3 })
      yield* signal("online")
      assert.strictEqual(attempts(), 3)
      assert.deepInclude(stateOf(client), { _tag: "Waiting", attempt: 2 })
      yield* pass(600)
      assert.strictEqual(stateOf(client)._tag, "Open")
    }))

  it.effect("ends a wait at most once in 5 seconds, however many there are", () =>
    Effect.gen(function*() {
      const { attempts, signal } = yield* make(Array.from({ length: 10 }, () => refused))
      for (let i = 0; i < 50; i++) yield* signal(i % 2 === 0 ? "online" : "visible")
      assert.strictEqual(attempts(), 2)
      yield* pass(5)
      assert.strictEqual(attempts(), 3)
      yield* pass(60)
      assert.strictEqual(attempts(), 3)
    }))

  it.effect("during an attempt, ends the wait after it", () =>
    Effect.gen(function*() {
      let attempts = 0
      const wake = yield* Wake.make
      yield* WebSocketClient.reconnecting("ws://there/", { schedule: Schedule.spaced("1 hour") }).pipe(
        Effect.provideService(WebSocketClient.WebSocketClient, {
          connect: () => {
            attempts++
            return Effect.andThen(Effect.sleep("10 seconds"), Effect.fail(refused))
          }
        }),
        Effect.provide(Wake.layer(wake))
      )
      yield* pass(5)
      yield* wake.signal("online")
      yield* pass(5)
      assert.strictEqual(attempts, 2)
      yield* pass(60)
      assert.strictEqual(attempts, 2)
    }))

  it.effect("while connected, does not shorten the wait after a later loss", () =>
    Effect.gen(function*() {
      const { attempts, client, servers, signal } = yield* make([])
      yield* signal("online")
      servers[0].transport.destroy()
      yield* pass(60)
      assert.strictEqual(stateOf(client)._tag, "Waiting")
      assert.strictEqual(attempts(), 1)
    }))

  it.effect("does not shorten a Retry-After", () =>
    Effect.gen(function*() {
      const { attempts, signal } = yield* make([rejected(503, { "retry-after": "60" })])
      yield* signal("retry")
      yield* pass(59)
      assert.strictEqual(attempts(), 1)
      yield* pass(14)
      assert.strictEqual(attempts(), 2)
    }))

  it.effect("stops with the Scope of the client", () =>
    Effect.gen(function*() {
      const wake = yield* Wake.make
      const { attempts, layer } = yield* network(refused)
      yield* Effect.scoped(Effect.andThen(WebSocketClient.reconnecting("ws://there/"), settle)).pipe(
        Effect.provide(Layer.merge(layer, Wake.layer(wake)))
      )
      yield* wake.signal("online")
      yield* pass(60)
      assert.strictEqual(attempts(), 1)
    }))
})

describe("a heartbeat and signals", () => {
  const heartbeat = { message: "ping", interval: "1 hour" } as const

  it.effect("asks the peer at once, and replaces a connection that is silent for 5 seconds", () =>
    Effect.gen(function*() {
      const { client, servers, signal } = yield* make([], { heartbeat, schedule: Schedule.spaced(0) })
      yield* signal("visible")
      assert.strictEqual(yield* receive(servers[0]), "ping")
      yield* pass(5)
      assert.strictEqual(servers.length, 2)
      assert.deepInclude(stateOf(client), { _tag: "Open", number: 2 })
    }))

  it.effect("keeps a connection whose peer replies", () =>
    Effect.gen(function*() {
      const { servers, signal } = yield* make([], { heartbeat })
      yield* signal("online")
      yield* servers[0].connection.send("pong")
      yield* pass(60)
      assert.strictEqual(servers.length, 1)
    }))
})

describe("whileHidden", () => {
  it.effect("\"keep\" goes on with attempts", () =>
    Effect.gen(function*() {
      const { attempts, signal } = yield* make([refused])
      yield* signal("hidden")
      yield* pass(600)
      assert.strictEqual(attempts(), 2)
    }))

  it.effect("\"pause\" makes no attempt until the page is visible, and then one at once", () =>
    Effect.gen(function*() {
      const { attempts, client, signal, states } = yield* make([refused, refused], { whileHidden: "pause" })
      yield* signal("hidden")
      yield* pass(3600)
      yield* signal("online")
      yield* pass(3600)
      assert.strictEqual(attempts(), 1)
      assert.deepInclude(stateOf(client), { _tag: "Paused", cause: refused })
      yield* signal("visible")
      yield* pass(5)
      assert.strictEqual(attempts(), 2)
      assert.deepInclude(stateOf(client), { _tag: "Waiting", attempt: 2 })
      assert.deepStrictEqual(states, [
        "connecting, 1",
        "waiting for 2, ConnectFailed",
        "Paused",
        "connecting, 1",
        "waiting for 2, ConnectFailed"
      ])
    }))

  it.effect("\"pause\" keeps an open connection, and does not begin in a hidden page", () =>
    Effect.gen(function*() {
      const { attempts, client, servers, signal } = yield* make([], { whileHidden: "pause" }, ["hidden"])
      assert.deepStrictEqual(stateOf(client), { _tag: "Paused", cause: undefined })
      yield* signal("visible")
      assert.strictEqual(stateOf(client)._tag, "Open")
      yield* signal("hidden")
      yield* pass(86_400)
      yield* client.send("still here")
      assert.strictEqual(yield* receive(servers[0]), "still here")
      assert.strictEqual(attempts(), 1)
    }))

  it.effect("\"pause\" begins at once if the page is shown while the client is made", () =>
    Effect.gen(function*() {
      const wake = yield* Wake.make
      yield* wake.signal("hidden")
      const { attempts, layer } = yield* network()
      const shownMeanwhile: Wake.Wake = {
        ...wake,
        listen: (listener) => Effect.tap(wake.listen(listener), () => wake.signal("visible"))
      }
      yield* WebSocketClient.reconnecting("ws://there/", { whileHidden: "pause" }).pipe(
        Effect.provide(Layer.merge(layer, Wake.layer(shownMeanwhile)))
      )
      yield* settle
      assert.strictEqual(attempts(), 1)
    }))

  it.effect("closeAfter closes with 1000 after the time, whatever isFinal says, and connects again when visible", () =>
    Effect.gen(function*() {
      const { client, servers, signal, states } = yield* make([], {
        whileHidden: { closeAfter: "5 minutes" },
        isFinal: () => true
      })
      yield* signal("hidden")
      yield* pass(299)
      assert.strictEqual(stateOf(client)._tag, "Open")
      yield* pass(1)
      assert.strictEqual((yield* servers[0].connection.closed).code, 1000)
      yield* pass(3600)
      assert.deepInclude(stateOf(client), { _tag: "Paused" })
      yield* signal("visible")
      assert.deepInclude(yield* SubscriptionRef.get(client.state), { _tag: "Open", number: 2 })
      assert.deepStrictEqual(states, ["connecting, 1", "Open", "Paused", "connecting, 1", "Open"])
    }))

  it.effect("closeAfter goes on with attempts until the time has passed", () =>
    Effect.gen(function*() {
      const { attempts, signal } = yield* make(Array.from({ length: 100 }, () => refused), {
        schedule: Schedule.spaced("1 minute"),
        whileHidden: { closeAfter: "5 minutes" }
      })
      yield* signal("hidden")
      yield* pass(3600)
      assert.strictEqual(attempts(), 5)
    }))
})
