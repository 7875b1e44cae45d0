import { assert, describe, it } from "@effect/vitest"
import { Data, Deferred, Effect, Fiber, Scope } from "effect"
import * as Http2 from "node:http2"
import * as Net from "node:net"
import { type ClientSession, startSession } from "../../../src/internal/http2/clientSession.ts"
import { SessionPool } from "../../../src/internal/http2/sessionPool.ts"
import { Timers } from "../../../src/internal/runtime/timers.ts"
import { http2Server } from "../../support/http2ServerPeers.ts"
import { eventually } from "../../support/resources.ts"

class Lost extends Data.Error<{ readonly message: string }> {}

const idleMillis = 1000

/** A pool whose sessions are with one server, and the sessions that it has opened. */
const pooled = (settings: Http2.Settings = {}) =>
  Effect.gen(function*() {
    const server = yield* http2Server({ settings })
    const timers = Timers.of(yield* Effect.context<never>())
    const pool = new SessionPool<string, Error>(timers, idleMillis)
    yield* Effect.addFinalizer(() => pool.close)
    const waits: Array<string> = []
    const open = Effect.gen(function*() {
      const scope = yield* Scope.make()
      const session = yield* startSession(Net.connect(server.port, "127.0.0.1"), { idleMillis, scope, timers })
      return { _tag: "Session" as const, session }
    })
    const opener = {
      begin: () => ({ progress: "opening", open }),
      onWait: (progress: string) => waits.push(progress),
      own: () => {}
    }
    const acquire = (key = "a") =>
      Effect.map(pool.acquire(key, opener), (way) => (way as { readonly session: ClientSession }).session)
    const hold = (session: ClientSession) =>
      session.request({
        ":method": "CONNECT",
        ":protocol": "websocket",
        ":scheme": "http",
        ":path": "/",
        ":authority": "localhost"
      }, () => {})
    return { acquire, hold, open, opener, pool, server, waits }
  })

describe("SessionPool", () => {
  it.live("opens one session for fibers that ask at once, and tells them what they wait for", () =>
    Effect.gen(function*() {
      const { acquire, server, waits } = yield* pooled()
      const sessions = yield* Effect.forEach([1, 2, 3], () => acquire(), { concurrency: "unbounded" })
      assert.strictEqual(new Set(sessions).size, 1)
      assert.deepStrictEqual(waits, ["opening", "opening", "opening"])
      assert.strictEqual(yield* acquire(), sessions[0])
      assert.strictEqual(waits.length, 3)
      assert.notStrictEqual(yield* acquire("b"), sessions[0])
      assert.strictEqual(server.sessions.length, 2)
    }))

  it.live("opens a further session while the others have no room, and uses a stream that was closed", () =>
    Effect.gen(function*() {
      const { acquire, hold } = yield* pooled({ maxConcurrentStreams: 1 })
      const first = yield* acquire()
      const { stream } = yield* hold(first)
      const second = yield* acquire()
      assert.notStrictEqual(second, first)
      yield* hold(second)
      stream.destroy()
      yield* eventually(() => first.hasRoom)
      assert.strictEqual(yield* acquire(), first)
    }))

  it.live("opens a new session once one is retired", () =>
    Effect.gen(function*() {
      const { acquire } = yield* pooled()
      const first = yield* acquire()
      first.retire()
      assert.notStrictEqual(yield* acquire(), first)
      yield* first.closed
    }))

  it.live("opens again after a failure", () =>
    Effect.gen(function*() {
      const { opener, pool } = yield* pooled()
      const failing = { ...opener, begin: () => ({ progress: "", open: Effect.fail(new Lost({ message: "lost" })) }) }
      assert.strictEqual((yield* Effect.flip(pool.acquire("a", failing))).message, "lost")
      assert.strictEqual((yield* pool.acquire("a", opener))._tag, "Session")
    }))

  it.live("opens again while an opening that was given up ends", () =>
    Effect.gen(function*() {
      const { opener, pool } = yield* pooled()
      const ending = yield* Deferred.make<void>()
      const open = Effect.onInterrupt(Effect.never, () => Deferred.await(ending))
      const fiber = yield* Effect.forkChild(pool.acquire("a", { ...opener, begin: () => ({ progress: "", open }) }), {
        startImmediately: true
      })
      fiber.interruptUnsafe()
      yield* Effect.yieldNow
      assert.strictEqual((yield* pool.acquire("a", opener))._tag, "Session")
      yield* Deferred.succeed(ending, undefined)
      yield* Fiber.await(fiber)
      assert.strictEqual((yield* pool.acquire("a", opener))._tag, "Session")
    }))

  it.live("close destroys sessions, and interrupts those that are being opened", () =>
    Effect.gen(function*() {
      const { acquire, opener, pool } = yield* pooled()
      const session = yield* acquire()
      const interrupted = yield* Deferred.make<void>()
      const open = Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, undefined))
      const fiber = yield* Effect.forkChild(pool.acquire("b", { ...opener, begin: () => ({ progress: "", open }) }), {
        startImmediately: true
      })
      yield* Effect.yieldNow
      yield* pool.close
      yield* Deferred.await(interrupted)
      assert.isTrue(session.isClosed)
      yield* Fiber.interrupt(fiber)
    }))
})
