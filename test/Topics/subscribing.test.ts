import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Schema, Stream } from "effect"
import { Broker, Topic, Topics, TypedConnection } from "effect-ws"
import * as Testing from "effect-ws/Testing"

const Room = Topic.make("room/:name", {
  message: Schema.String,
  member: Schema.Struct({ name: Schema.String }),
  history: { size: 4, ttl: "5 minutes" }
})

const Feed = Topic.make("feed/:name", { message: Schema.String })

const lobby = { name: "lobby" }

const provide = Effect.provide(Topics.layer({ topics: [Room, Feed] }).pipe(Layer.provide(Broker.layerMemory())))

/** What a test compares: no epochs. */
const shown = (event: Topic.Event<string, { readonly name: string }>): string => {
  switch (event._tag) {
    case "Subscribed":
      return `subscribed at ${event.position.offset} with ${event.members.map(({ id }) => id).join(",")}`
    case "Message":
      return `${event.position.offset} ${event.message}`
    case "Gap":
      return `gap ${event.from.offset} to ${event.to.offset}`
    case "Joined":
      return `joined ${event.id}`
    case "Left":
      return `left ${event.id}`
  }
}

describe("subscribe", () => {
  it.effect("delivers messages and changes of presence in one order", () =>
    Effect.gen(function*() {
      yield* Topics.publish(Room, lobby, "before")
      const fiber = yield* Stream.runCollect(Topics.subscribe(Room, lobby).pipe(Stream.map(shown), Stream.take(6)))
        .pipe(
          Effect.forkChild({ startImmediately: true })
        )
      yield* Testing.settle
      yield* Topics.publish(Room, lobby, "a")
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Topics.join(Room, lobby, { id: "1", member: { name: "Ada" } })
        yield* Topics.publish(Room, lobby, "b")
      }))
      yield* Topics.publish(Room, lobby, "c")
      assert.deepStrictEqual(yield* Fiber.join(fiber), [
        "subscribed at 1 with ",
        "2 a",
        "joined 1",
        "3 b",
        "left 1",
        "4 c"
      ])
    }).pipe(provide))

  it.effect("delivers to connections", () =>
    Effect.gen(function*() {
      const { client, server } = yield* Testing.makePair()
      yield* Topics.deliver(server, Room, lobby)
      yield* Topics.publish(Room, lobby, "a")
      yield* Topics.publish(Room, lobby, "b")
      const typed = TypedConnection.make(client, { receives: Topic.event(Room), sends: Schema.Never })
      const events = yield* typed.messages.pipe(Stream.map(shown), Stream.take(3), Stream.runCollect)
      assert.deepStrictEqual(events, ["subscribed at 0 with ", "1 a", "2 b"])
    }).pipe(Effect.scoped, provide))
})
