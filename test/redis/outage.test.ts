/**
 * Prints how long topics take to heal after Redis was away:
 * `SUBSCRIBERS=1000 npm run test:redis -- test/redis/outage.test.ts`.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schedule, Stream } from "effect"
import { Message, WebSocketClient } from "effect-ws"
import { type FaultProxy, startFaultProxy } from "../support/faultProxy.ts"
import { listening } from "../support/port.ts"
import { runExample } from "../support/process.ts"
import { until } from "../support/redisBrokers.ts"
import { type RedisServer, startRedis } from "../support/redisServer.ts"
import { drivers } from "../support/topicDrivers.ts"

/** How Redis goes away, and comes back. */
const outages: ReadonlyArray<{
  readonly title: string
  readonly begin: (redis: RedisServer, network: FaultProxy) => Effect.Effect<void>
  readonly end: (redis: RedisServer, network: FaultProxy) => Effect.Effect<void>
}> = [
  {
    title: "that the network does not reach",
    begin: (_, network) => Effect.sync(() => network.set("refuse")),
    end: (_, network) => Effect.sync(() => network.set("pass"))
  },
  { title: "that restarts", begin: (redis) => redis.stop, end: (redis) => redis.restart }
]

const subscribers = Number(process.env["SUBSCRIBERS"] ?? 200)
const outage = "5 seconds"

interface Subscriber {
  /** What has arrived in the channel, in order. */
  readonly received: Array<unknown>
  epoch: string
  /** The offset of the newest, by which each must be one more than the one before. */
  offset: number
  /** When a message arrived that was published after the outage. */
  healedAt: number | undefined
}

/** The first of the messages that are published after the outage. They are numbers that count up. */
let firstAfter: number

interface Publication {
  readonly data: unknown
  readonly offset: number
}

interface Reply {
  readonly error?: object
  readonly subscribe?: {
    readonly epoch: string
    readonly offset?: number
    readonly was_recovering?: boolean
    readonly recovered?: boolean
    readonly publications?: ReadonlyArray<Publication>
  }
  readonly push?: { readonly pub?: Publication; readonly unsubscribe?: object }
}

const channel = "room:outage"

/** Takes what a server sends, and returns the command to answer with, if there is one. */
const onReply = (subscriber: Subscriber, { error, push, subscribe: confirmed }: Reply): object | undefined => {
  assert.isUndefined(error)
  const add = ({ data, offset }: Publication): void => {
    assert.strictEqual(offset, ++subscriber.offset)
    subscriber.received.push(data)
    if (Number(data) >= firstAfter) subscriber.healedAt ??= Date.now()
  }
  if (confirmed !== undefined) {
    assert.strictEqual(confirmed.recovered, confirmed.was_recovering)
    subscriber.epoch = confirmed.epoch
    if (confirmed.was_recovering !== true) subscriber.offset = confirmed.offset ?? 0
    for (const publication of confirmed.publications ?? []) add(publication)
  }
  if (push?.pub !== undefined) add(push.pub)
  if (push?.unsubscribe === undefined) return undefined
  // The epoch of the channel has another name: the client subscribes again from where it is.
  const { epoch, offset } = subscriber
  return { id: 3, subscribe: { channel, recover: true, epoch, offset } }
}

/** A client that never reconnects: if its connection ends, it fails. */
const subscribe = (url: string, i: number) =>
  Effect.gen(function*() {
    const subscriber: Subscriber = { received: [], epoch: "", offset: 0, healedAt: undefined }
    const connection = yield* WebSocketClient.connect(url)
    yield* connection.sendAll([
      JSON.stringify({ id: 1, connect: { token: `s${i}` } }),
      JSON.stringify({ id: 2, subscribe: { channel } })
    ])
    const fiber = yield* connection.messages.pipe(
      Stream.runForEach((message) =>
        Effect.forEach(Message.toText(message).split("\n"), (text) => {
          // An empty reply is a ping, which wants an empty command.
          const answer = text === "{}" ? {} : onReply(subscriber, JSON.parse(text) as Reply)
          return answer === undefined ? Effect.void : connection.send(JSON.stringify(answer))
        }, { discard: true })
      ),
      Effect.andThen(Effect.die(new Error("expected the connection to stay open, got its end"))),
      Effect.forkScoped
    )
    yield* Effect.raceFirst(until(() => subscriber.epoch !== ""), Fiber.join(fiber))
    return { subscriber, fiber }
  })

describe.each(outages)("a Redis $title", ({ begin, end, title }) => {
  it.live(
    `leaves ${subscribers} clients of two servers connected, each of which sees every message once and in order`,
    () =>
      Effect.gen(function*() {
        const redis = yield* startRedis("--appendonly", "yes", "--appendfsync", "always")
        const network = yield* startFaultProxy(redis.port)
        const servers = yield* Effect.forEach([0, 1], () =>
          listening((port) =>
            runExample("topics-server.js", {
              PORT: String(port),
              BROKER: "redis",
              REDIS_URL: `redis://127.0.0.1:${network.port}`
            })
          ))
        // A server accepts connections before.
        for (const server of servers) yield* server.printed(/the broker is up/)
        const urls = servers.map(({ port }) => `ws://127.0.0.1:${port}/connection/websocket`)
        const clients = yield* Effect.forEach(
          Array.from({ length: subscribers }, (_, i) => i),
          (i) => subscribe(urls[i % 2], i),
          { concurrency: 32 }
        )
        const publisher = drivers[0].open(urls[0], "publisher")
        firstAfter = Number.POSITIVE_INFINITY
        const confirmed: Array<number> = []
        let tries = 0
        let isOver = false
        const publish = Effect.tryPromise(async () => {
          const number = tries++
          await publisher.publish("room:outage", number)
          confirmed.push(number)
        })
        const publishing = yield* publish.pipe(
          Effect.ignore,
          Effect.repeat({ schedule: Schedule.spaced("20 millis"), until: () => isOver }),
          Effect.forkChild
        )
        yield* until(() => confirmed.length > 20)
        yield* begin(redis, network)
        yield* Effect.sleep(outage)
        const before = confirmed.length
        yield* end(redis, network)
        const back = Date.now()
        firstAfter = tries
        yield* until(() => clients.every(({ subscriber }) => subscriber.healedAt !== undefined))
        const healed = clients.map(({ subscriber }) => subscriber.healedAt! - back).toSorted((a, b) => a - b)
        yield* until(() => confirmed.length > before + 20)
        // No message is under way when the logs are compared.
        isOver = true
        yield* Fiber.join(publishing)
        yield* until(() => clients.every(({ subscriber }) => subscriber.received.includes(confirmed.at(-1)!)))
        for (const { fiber, subscriber } of clients) {
          assert.isUndefined(fiber.pollUnsafe())
          assert.deepStrictEqual(subscriber.received, clients[0].subscriber.received)
        }
        const received = clients[0].subscriber.received as ReadonlyArray<number>
        assert.deepStrictEqual(received.filter((number) => confirmed.includes(number)), confirmed)
        assert.deepStrictEqual(received, [...new Set(received)])
        yield* Effect.promise(() => publisher.close())
        console.log(
          `A Redis ${title}, away for ${outage}: ${subscribers} subscribers in two processes, ${confirmed.length} messages, ` +
            `0 lost, 0 doubled, 0 reconnects; the first message after it reached half of them ` +
            `${healed[subscribers >> 1]} ms after Redis was back, and all of them after ${healed.at(-1)} ms`
        )
      }),
    600_000
  )
})
