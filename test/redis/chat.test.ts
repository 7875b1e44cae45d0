/** The chat example over Redis: its rooms outlive the server, and several processes share them. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { Room } from "../../examples/chat/room.ts"
import { startChat, visit } from "../support/chat.ts"
import { startRedis } from "../support/redisServer.ts"

const lobby = { name: "lobby" }

describe("chat", () => {
  it.live("keeps its rooms in Redis when the server restarts", () =>
    Effect.gen(function*() {
      const redis = yield* startRedis()
      const environment = { REDIS_URL: `redis://127.0.0.1:${redis.port}` }
      const server = yield* startChat(0, environment)
      yield* server.printed(/Redis is connected/)
      const ada = yield* visit(server.port, "Ada")
      const position = yield* ada.publish(Room, lobby, { by: "Ada", text: "before", at: 0 })
      server.child.kill("SIGTERM")
      yield* server.ended
      const next = yield* startChat(server.port, environment)
      yield* next.printed(/Redis is connected/)
      yield* ada.publish(Room, lobby, { by: "Ada", text: "after", at: 0 })
      const events = yield* ada.subscribe(Room, lobby, { since: { ...position!, offset: 0 } }).pipe(
        Stream.filter(({ _tag }) => _tag === "Message" || _tag === "Gap"),
        Stream.take(2),
        Stream.runCollect
      )
      assert.deepStrictEqual(
        events.map((event) => event._tag === "Message" ? event.message.text : event._tag),
        ["before", "after"]
      )
    }))

  it.live("shares its rooms among WORKERS on one port", () =>
    Effect.gen(function*() {
      const redis = yield* startRedis()
      const server = yield* startChat(0, { REDIS_URL: `redis://127.0.0.1:${redis.port}`, WORKERS: "2" })
      yield* server.printed(/\[(\d+)\] {2}the chat is at [^]*\[(?!\1)\d+\] {2}the chat is at /)
      yield* server.printed(/Redis is connected[^]*Redis is connected/)
      const visitors = yield* Effect.forEach(["Ada", "Bob", "Cy", "Dee"], (name) => visit(server.port, name))
      yield* visitors[0]!.publish(Room, lobby, { by: "Ada", text: "hello", at: 0 })
      for (const visitor of visitors) {
        const { messages } = yield* visitor.history(Room, lobby)
        assert.deepStrictEqual(messages.map(({ message: { by, text } }) => [by, text]), [["Ada", "hello"]])
      }
      // The processes take turns with connections.
      yield* server.printed(/\[(\d+)\] {2}\w+ is connected[^]*\[(?!\1)\d+\] {2}\w+ is connected/)
      server.child.kill("SIGTERM")
      yield* server.ended
    }))
})
