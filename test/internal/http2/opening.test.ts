import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope } from "effect"
import { PassThrough } from "node:stream"
import { type Opened, Opening } from "../../../src/internal/http2/opening.ts"

/** An opening with a result that the test sets, and a record of what happened. */
const started = (onDone = () => {}) =>
  Effect.gen(function*() {
    const events: Array<string> = []
    const result = yield* Deferred.make<Opened, string>()
    const opening = new Opening<undefined, string>(undefined)
    const open = Effect.onInterrupt(Deferred.await(result), () => Effect.sync(() => events.push("interrupted")))
    yield* opening.start(open, (exit) => {
      events.push(Exit.isSuccess(exit) ? "done" : "failed")
      onDone()
    })
    const join = Effect.uninterruptibleMask((restore) => opening.join(restore, () => events.push("taken")))
    return { events, join, opening, result }
  })

const http1 = Effect.map(Scope.make(), (scope) => {
  const socket = new PassThrough()
  return { socket, scope, opened: { _tag: "Http1", socket, scope } as const }
})

const forked = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

describe("Opening", () => {
  it.effect("gives its result to all fibers that wait", () =>
    Effect.gen(function*() {
      const { events, join, result } = yield* started()
      const fibers = yield* Effect.forEach([1, 2], () => forked(join))
      yield* Deferred.succeed(result, { _tag: "NoConnect" })
      assert.deepStrictEqual(yield* Fiber.joinAll(fibers), [{ _tag: "NoConnect" }, { _tag: "NoConnect" }])
      assert.deepStrictEqual(events, ["done"])
    }))

  it.effect("fails all fibers that wait", () =>
    Effect.gen(function*() {
      const { events, join, result } = yield* started()
      const fibers = yield* Effect.forEach([1, 2], () => forked(Effect.flip(join)))
      yield* Deferred.fail(result, "lost")
      assert.deepStrictEqual(yield* Fiber.joinAll(fibers), ["lost", "lost"])
      assert.deepStrictEqual(events, ["failed"])
    }))

  it.effect("goes on while a fiber waits, and is interrupted when none does any more", () =>
    Effect.gen(function*() {
      const { events, join } = yield* started()
      const [one, two] = yield* Effect.forEach([1, 2], () => forked(join))
      yield* Fiber.interrupt(one)
      assert.deepStrictEqual(events, [])
      yield* Fiber.interrupt(two)
      assert.deepStrictEqual(events, ["interrupted", "failed"])
    }))

  it.effect("gives a socket to the first fiber, whose Scope closes that of the socket", () =>
    Effect.gen(function*() {
      const { events, join, result } = yield* started()
      const { opened, scope, socket } = yield* http1
      yield* Scope.addFinalizer(scope, Effect.sync(() => events.push("released")))
      const [one, two] = yield* Effect.forEach([1, 2], () => forked(Effect.scoped(join)))
      yield* Deferred.succeed(result, opened)
      const ways = [yield* Fiber.join(one), yield* Fiber.join(two)]
      assert.deepStrictEqual(ways.map((way) => way._tag === "Http1" && way.socket === socket), [true, false])
      assert.deepStrictEqual(events, ["done", "taken", "released"])
      assert.isFalse(socket.destroyed)
    }))

  it.effect("destroys a socket that no fiber has taken", () =>
    Effect.gen(function*() {
      let interrupt = () => {}
      const { events, join, opening, result } = yield* started(() => interrupt())
      const { opened, scope, socket } = yield* http1
      yield* Scope.addFinalizer(scope, Effect.sync(() => events.push("released")))
      const fiber = yield* forked(join)
      // Between the result and the fiber that waits for it.
      interrupt = () => fiber.interruptUnsafe()
      yield* Deferred.succeed(result, opened)
      yield* Fiber.await(fiber)
      yield* opening.giveUp
      assert.isTrue(socket.destroyed)
      assert.deepStrictEqual(events, ["done", "released"])
    }))
})
