import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Duplex } from "node:stream"
import { TestClock } from "effect/testing"
import { PendingSockets } from "../../../src/internal/node/pendingSockets.ts"
import { Timers } from "../../../src/internal/runtime/timers.ts"
import { settle } from "../../support/memory.ts"
import { rawSocket, socketPair } from "../../support/net.ts"
import { eventually } from "../../support/resources.ts"

describe("PendingSockets", () => {
  it.live("closes each socket that sends nothing, however soon it connected after others", () =>
    Effect.gen(function*() {
      const newcomers = new PendingSockets(1000, 20, Timers.of(yield* Effect.context<never>()), "")
      yield* Effect.addFinalizer(() => Effect.sync(() => newcomers.stop()))
      const sockets = Array.from({ length: 500 }, () => new Duplex({ read: () => {} }))
      for (const socket of sockets) {
        newcomers.add(socket)
        for (const until = performance.now() + Math.random() * 0.2; performance.now() < until;);
      }
      yield* eventually(() => sockets.every(({ destroyed }) => destroyed))
    }))

  it.live("destroys pending sockets when it stops, and later ones, but none that has sent its request", () =>
    Effect.gen(function*() {
      const newcomers = new PendingSockets(10, 60_000, Timers.of(yield* Effect.context<never>()), "")
      const [there] = yield* socketPair
      const [asked] = yield* socketPair
      const [late] = yield* socketPair
      newcomers.add(there)
      newcomers.add(asked)
      newcomers.remove(asked)
      newcomers.stop()
      newcomers.add(late)
      assert.deepStrictEqual([there, asked, late].map((socket) => socket.destroyed), [true, false, true])
    }))

  it.live("closes the oldest pending socket above max", () =>
    Effect.gen(function*() {
      const newcomers = new PendingSockets(2, 60_000, Timers.of(yield* Effect.context<never>()), "")
      const sockets = (yield* Effect.replicateEffect(socketPair, 5)).map(([, accepted]) => accepted)
      const destroyed = () => sockets.map((socket) => socket.destroyed)
      for (const socket of sockets.slice(0, 2)) newcomers.add(socket)
      newcomers.remove(sockets[0])
      newcomers.add(sockets[2])
      assert.deepStrictEqual(destroyed(), [false, false, false, false, false])
      newcomers.add(sockets[3])
      assert.deepStrictEqual(destroyed(), [false, true, false, false, false])
      // A closed socket no longer counts.
      sockets[2].destroy()
      yield* settle
      newcomers.add(sockets[4])
      assert.deepStrictEqual(destroyed(), [false, true, true, false, false])
      newcomers.stop()
    }))

  it.live("writes the timeout response, if there is one, before it closes a socket", () =>
    Effect.gen(function*() {
      const newcomers = new PendingSockets(0, 60_000, Timers.of(yield* Effect.context<never>()), "too many")
      const [other, socket] = yield* socketPair
      const peer = rawSocket(other)
      newcomers.add(socket)
      assert.strictEqual((yield* peer.ended).toString(), "too many")
      newcomers.stop()
    }))

  it.effect("closes each socket after its timeout, the oldest first", () =>
    Effect.gen(function*() {
      const newcomers = new PendingSockets(10, 1000, Timers.of(yield* Effect.context<never>()), "")
      const sockets = (yield* Effect.replicateEffect(socketPair, 3)).map(([, accepted]) => accepted)
      for (const socket of sockets) {
        newcomers.add(socket)
        yield* TestClock.adjust(400)
      }
      const destroyed = () => sockets.map((socket) => socket.destroyed)
      assert.deepStrictEqual(destroyed(), [true, false, false])
      yield* TestClock.adjust(199)
      assert.deepStrictEqual(destroyed(), [true, false, false])
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(destroyed(), [true, true, false])
      assert.strictEqual(newcomers.remove(sockets[2]), 600)
      yield* TestClock.adjust(1000)
      assert.deepStrictEqual(destroyed(), [true, true, false])
      newcomers.stop()
    }))
})
