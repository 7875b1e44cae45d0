import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope } from "effect"
import { Broker } from "effect-ws"
import * as Testing from "effect-ws/Testing"
import { Presence } from "../../../src/internal/topics/presence.ts"

const bytes = (text: string) => new TextEncoder().encode(text)
const ada = { id: "1", info: bytes("Ada") }

/** A broker that notes what it is told. Joining waits if there is a `gate`, and fails if it is closed with a failure. */
const makePresence = (gate?: Deferred.Deferred<void, Broker.BrokerUnavailable>) => {
  const calls: Array<string> = []
  const presence = new Presence({
    join: (_: string, { id, info }: Broker.Member) =>
      Effect.andThen(
        gate === undefined ? Effect.void : Deferred.await(gate),
        Effect.sync(() => void calls.push(`join ${id} ${new TextDecoder().decode(info)}`))
      ),
    leave: (_: string, id: string) => Effect.sync(() => void calls.push(`leave ${id}`))
  } as Partial<Broker.Broker> as Broker.Broker)
  const join = (member: Broker.Member) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      yield* Scope.provide(presence.join("room", member), scope)
      return Scope.close(scope, Exit.void)
    })
  return { calls, join }
}

describe("Presence", () => {
  it.effect("adds a member once however often it joins, and removes it with the last of them", () =>
    Effect.gen(function*() {
      const { calls, join } = makePresence()
      const [first, second] = [yield* join(ada), yield* join({ ...ada, info: bytes("Ada") })]
      assert.deepStrictEqual(calls, ["join 1 Ada"])
      yield* first
      assert.deepStrictEqual(calls, ["join 1 Ada"])
      yield* second
      assert.deepStrictEqual(calls, ["join 1 Ada", "leave 1"])
      yield* Effect.flatten(join(ada))
      assert.deepStrictEqual(calls.slice(2), ["join 1 Ada", "leave 1"])
    }))

  it.effect("tells the broker of another value", () =>
    Effect.gen(function*() {
      const { calls, join } = makePresence()
      const leaves = [yield* join(ada), yield* join({ id: "1", info: bytes("Ada L.") })]
      assert.deepStrictEqual(calls, ["join 1 Ada", "join 1 Ada L."])
      yield* Effect.all(leaves)
      assert.deepStrictEqual(calls.slice(2), ["leave 1"])
    }))

  it.effect("asks the broker again while it is unknown whether it has the member", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void, Broker.BrokerUnavailable>()
      const { calls, join } = makePresence(gate)
      const first = yield* Effect.forkChild(join(ada))
      const second = yield* Effect.forkChild(join(ada))
      yield* Testing.settle
      yield* Fiber.interrupt(first)
      yield* Deferred.succeed(gate, undefined)
      yield* Effect.flatten(Fiber.join(second))
      assert.deepStrictEqual(calls, ["join 1 Ada", "leave 1"])
    }))

  it.effect("lets a member leave that the broker may have, after a failure", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void, Broker.BrokerUnavailable>()
      yield* Deferred.fail(gate, new Broker.BrokerUnavailable({ operation: "join", channel: "room", cause: "down" }))
      const { calls, join } = makePresence(gate)
      assert.strictEqual((yield* Effect.flip(Effect.asVoid(join(ada)))).operation, "join")
      assert.deepStrictEqual(calls, ["leave 1"])
    }))
})
