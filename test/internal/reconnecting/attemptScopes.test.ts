import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch } from "effect"
import { AttemptScopes } from "../../../src/internal/reconnecting/attemptScopes.ts"
import { settle } from "../../support/memory.ts"

describe("AttemptScopes", () => {
  it.effect("returns the result of an attempt while its Scope is still closing", () =>
    Effect.gen(function*() {
      const scopes = new AttemptScopes()
      const slow = Latch.makeUnsafe(false)
      const result = yield* scopes.run(Effect.as(Effect.addFinalizer(() => slow.await), "lost"))
      assert.strictEqual(result, "lost")
      const closed = yield* Effect.forkChild(scopes.closed)
      yield* settle
      assert.isUndefined(closed.pollUnsafe())
      slow.openUnsafe()
      yield* Fiber.join(closed)
    }))

  it.effect("closes each Scope with the exit of its attempt, and after the end with the exit of the client", () =>
    Effect.gen(function*() {
      const scopes = new AttemptScopes()
      const exits: Array<Exit.Exit<unknown, unknown>> = []
      const attempt = Effect.andThen(
        Effect.addFinalizer((exit) => Effect.sync(() => exits.push(exit))),
        Effect.fail("lost")
      )
      yield* Effect.exit(scopes.run(attempt))
      scopes.end(Exit.succeed("the client"))
      const slow = Latch.makeUnsafe(false)
      const last = yield* Effect.forkChild(
        Effect.exit(scopes.run(Effect.andThen(Effect.addFinalizer(() => slow.await), attempt)))
      )
      yield* settle
      assert.deepStrictEqual(exits, [Exit.fail("lost"), Exit.succeed("the client")])
      // After the end, the Scope closes before the attempt returns.
      assert.isUndefined(last.pollUnsafe())
      slow.openUnsafe()
      assert.deepStrictEqual(yield* Fiber.join(last), Exit.fail("lost"))
    }))

  it.effect("closes the Scope of an interrupted attempt", () =>
    Effect.gen(function*() {
      const scopes = new AttemptScopes()
      let released = false
      const finalizer = Effect.addFinalizer(() =>
        Effect.sync(() => {
          released = true
        })
      )
      const fiber = yield* Effect.forkChild(scopes.run(Effect.andThen(finalizer, Effect.never)))
      yield* settle
      yield* Fiber.interrupt(fiber)
      yield* scopes.closed
      assert.isTrue(released)
    }))

  it.effect("retains nothing of an attempt whose Scope is closed", () =>
    Effect.gen(function*() {
      const scopes = new AttemptScopes()
      const slow = Latch.makeUnsafe(false)
      const fibersClosing = () => scopes["closing"].size
      yield* scopes.run(Effect.addFinalizer(() => slow.await))
      yield* Effect.replicateEffect(scopes.run(Effect.void), 3)
      yield* settle
      assert.strictEqual(fibersClosing(), 1)
      slow.openUnsafe()
      yield* scopes.closed
      assert.strictEqual(fibersClosing(), 0)
    }))
})
