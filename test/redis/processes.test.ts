/** Servers in processes of their own behind HAProxy, as docs/scaling.md shows them, and the clients of people who use them. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { listening } from "../support/port.ts"
import { type Program, runExample, runProgram } from "../support/process.ts"
import { until } from "../support/redisBrokers.ts"
import { makeDirectory, startRedis, unusedPort } from "../support/redisServer.ts"
import { type Driven, drivers, type Subscribed } from "../support/topicDrivers.ts"

const startServer = (port: number, redisUrl: string): Effect.Effect<Program, never, Scope.Scope> =>
  Effect.tap(
    runExample("topics-server.js", { PORT: String(port), BROKER: "redis", REDIS_URL: redisUrl }),
    (server) => server.printed(/LISTENING/)
  )

/** HAProxy in front of two ports. It finds within a tenth of a second whether a server is there. */
const startBalancer = (ports: ReadonlyArray<number>) =>
  Effect.gen(function*() {
    const directory = yield* makeDirectory
    return yield* listening((port) => {
      const file = join(directory, `haproxy${port}.cfg`)
      writeFileSync(
        file,
        [
          "defaults",
          "  mode http",
          "  timeout connect 1s",
          "  timeout client 30s",
          "  timeout server 30s",
          "  timeout tunnel 1h",
          "  option redispatch",
          "frontend topics",
          `  bind 127.0.0.1:${port}`,
          "  default_backend servers",
          "backend servers",
          "  balance leastconn",
          "  default-server check inter 100ms fall 1 rise 1",
          ...ports.map((server) => `  server s${server} 127.0.0.1:${server}`),
          ""
        ].join("\n")
      )
      return runProgram("haproxy", ["-db", "-f", file])
    })
  })

const messagesOf = ({ log }: Pick<Subscribed, "log">) =>
  log.filter((entry) => entry.startsWith("message ")).map((entry) => entry.slice("message ".length))

/** Publishes until the server confirms it. A message whose confirmation was lost may be published twice: each try is another message. */
const publishUntilConfirmed = (client: Driven, text: string): Effect.Effect<string> =>
  Effect.promise(async () => {
    for (let attempt = 0;; attempt++) {
      try {
        const message = `${text}.${attempt}`
        await client.publish("room:lobby", message)
        return JSON.stringify(message)
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    }
  })

describe("two servers behind HAProxy, over Redis", () => {
  it.live(
    "lose no confirmed message when servers are killed, stopped and replaced, and Redis restarts",
    () =>
      Effect.gen(function*() {
        const redis = yield* startRedis("--appendonly", "yes", "--appendfsync", "always")
        const redisUrl = `redis://127.0.0.1:${redis.port}`
        const ports = [yield* unusedPort, yield* unusedPort]
        const [first, second] = yield* Effect.forEach(ports, (port) => startServer(port, redisUrl))
        const balancer = yield* startBalancer(ports)
        const url = `ws://127.0.0.1:${balancer.port}/connection/websocket`
        const open = (driver: typeof drivers[number], name: string) =>
          Effect.acquireRelease(
            Effect.sync(() => driver.open(url, name)),
            (client) => Effect.promise(() => client.close())
          )
        const clients = yield* Effect.forEach([...drivers, ...drivers], (driver, i) => open(driver, `user${i}`))
        const subscriptions = clients.map((client) => client.subscribe("room:lobby"))
        yield* until(() => subscriptions.every(({ log }) => log.includes("subscribed")))
        const confirmed: Array<string> = []
        const say = (count: number) =>
          Effect.forEach(Array.from({ length: count }), () =>
            Effect.map(
              publishUntilConfirmed(clients[confirmed.length % clients.length], `m${confirmed.length}`),
              (text) => void confirmed.push(text)
            ), { discard: true })
        yield* say(10)
        first.child.kill("SIGKILL")
        yield* say(10)
        yield* startServer(ports[0], redisUrl)
        yield* redis.restart
        yield* say(10)
        second.child.kill("SIGTERM")
        yield* say(10)
        yield* startServer(ports[1], redisUrl)
        yield* say(10)
        yield* until(() => subscriptions.every((subscription) => messagesOf(subscription).includes(confirmed.at(-1)!)))
        for (const subscription of subscriptions) {
          const messages = messagesOf(subscription)
          assert.notInclude(subscription.log, "gap")
          assert.deepStrictEqual(messages, [...new Set(messages)])
          assert.deepStrictEqual(messages.filter((message) => confirmed.includes(message)), confirmed)
          assert.deepStrictEqual(messages, messagesOf(subscriptions[0]))
        }
      }),
    300_000
  )

  it.live(
    "let the members of a process leave that is stopped for longer than its lease, and join when it goes on",
    () =>
      Effect.gen(function*() {
        const redis = yield* startRedis()
        const start = listening((port) =>
          runExample("topics-server.js", {
            PORT: String(port),
            BROKER: "redis",
            REDIS_URL: `redis://127.0.0.1:${redis.port}`,
            LEASE: "2 seconds"
          })
        )
        const servers = [yield* start, yield* start]
        const [ada, bob] = yield* Effect.forEach(["ada", "bob"], (name, i) =>
          Effect.acquireRelease(
            Effect.sync(() => drivers[0].open(`ws://127.0.0.1:${servers[i].port}/connection/websocket`, name)),
            (client) => Effect.promise(() => client.close())
          ))
        const seenByBob = bob.subscribe("room:lobby")
        yield* until(() => seenByBob.log.includes("subscribed"))
        const seenByAda = ada.subscribe("room:lobby")
        yield* until(() => seenByAda.log.includes("subscribed") && seenByBob.log.includes("joined ada"))
        servers[0].child.kill("SIGSTOP")
        yield* until(() => seenByBob.log.includes("left ada"))
        const published = yield* Effect.forEach(["a", "b", "c"], (text) => publishUntilConfirmed(bob, text))
        servers[0].child.kill("SIGCONT")
        yield* until(() => seenByBob.log.lastIndexOf("joined ada") > seenByBob.log.indexOf("left ada"))
        published.push(yield* publishUntilConfirmed(ada, "d"))
        yield* until(() => messagesOf(seenByAda).includes(published[3]) && messagesOf(seenByBob).includes(published[3]))
        for (const { log } of [seenByAda, seenByBob]) {
          assert.deepStrictEqual(messagesOf({ log }).filter((message) => published.includes(message)), published)
          for (const sign of ["gap", "resumed"]) assert.notInclude(log, sign)
          // She leaves once for each time that she has joined.
          const changes = log.filter((entry) => entry.endsWith(" ada"))
          assert.isTrue(changes.every((change, i) => change !== changes[i - 1]), changes.join())
        }
        assert.deepStrictEqual([ada.ended(), bob.ended()], [undefined, undefined])
        assert.deepStrictEqual(yield* Effect.promise(() => bob.members("room:lobby")), ["ada", "bob"])
      }),
    300_000
  )

  it.live("share one port with WORKERS, and each knows the members of all", () =>
    Effect.gen(function*() {
      const redis = yield* startRedis()
      const server = yield* listening((port) =>
        runExample("topics-server.js", {
          PORT: String(port),
          WORKERS: "2",
          BROKER: "redis",
          REDIS_URL: `redis://127.0.0.1:${redis.port}`
        })
      )
      yield* until(() => server.output().split("LISTENING").length === 3)
      const url = `ws://127.0.0.1:${server.port}/connection/websocket`
      const clients = yield* Effect.forEach(Array.from({ length: 6 }, (_, i) => i), (i) =>
        Effect.acquireRelease(
          Effect.sync(() => drivers[i % drivers.length].open(url, `user${i}`)),
          (client) => Effect.promise(() => client.close())
        ))
      const subscriptions = clients.map((client) => client.subscribe("room:lobby"))
      yield* until(() => subscriptions.every(({ log }) => log.includes("subscribed")))
      yield* publishUntilConfirmed(clients[0], "hello")
      yield* until(() => subscriptions.every((subscription) => messagesOf(subscription).length === 1))
      const members = yield* Effect.promise(() => clients[1].members("room:lobby"))
      assert.deepStrictEqual(members, clients.map((_, i) => `user${i}`))
    }), 300_000)
})
