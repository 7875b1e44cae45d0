/** The example that serves topics, with the npm package `centrifuge` and with TopicClient. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { startServer } from "../support/process.ts"
import { drivers } from "../support/topicDrivers.ts"
import { until } from "../support/topicServing.ts"

describe("topics-server", () => {
  for (const driver of drivers) {
    it.live(`serves rooms and feeds to ${driver.name}`, () =>
      Effect.gen(function*() {
        const { port } = yield* startServer("topics-server.js", { BROKER: "memory" })
        const url = `ws://127.0.0.1:${port}/connection/websocket`
        yield* Effect.promise(async () => {
          const [ada, bob] = [driver.open(url, "ada"), driver.open(url, "bob")]
          const room = ada.subscribe("room:lobby")
          await until(() => room.log.includes("subscribed"), () => room.log)
          await bob.publish("room:lobby", { hello: "room" })
          await until(() => room.log.includes(`message {"hello":"room"}`), () => room.log)
          assert.deepStrictEqual(await bob.history("room:lobby"), [{ hello: "room" }])
          assert.deepStrictEqual(await bob.members("room:lobby"), ["ada"])
          const feed = bob.subscribe("feed:news")
          await until(() => feed.log.includes("subscribed"), () => feed.log)
          await ada.publish("feed:news", 1)
          await until(() => feed.log.includes("message 1"), () => feed.log)
          await ada.close()
          await bob.close()
        })
      }))
  }
})
