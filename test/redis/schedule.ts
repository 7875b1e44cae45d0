/**
 * One random schedule: two processes with topics over one Redis server, publishers
 * and subscribers in both, and faults, as a seed says. At the end, what each
 * subscriber has seen is held against the laws of topics.
 */
import { assert } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Layer, Schema, type Scope, Stream } from "effect"
import { Topic, Topics } from "effect-ws"
import * as RedisBroker from "effect-ws/RedisBroker"
import { Random } from "../fuzz/random.ts"
import { type FaultProxy, startFaultProxy } from "../support/faultProxy.ts"
import { eventually, until } from "../support/redisBrokers.ts"
import { type RedisServer, startRedis } from "../support/redisServer.ts"

export const Room = Topic.make("room/:name", {
  message: Schema.String,
  member: Schema.String,
  history: { size: 10_000, ttl: "5 minutes" }
})

const params = { name: "lobby" }

export interface Process {
  readonly context: Context.Context<Topics.Topics>
  readonly proxy: FaultProxy
}

/** A process with a network of its own to Redis. */
export const startProcess = (port: number): Effect.Effect<Process, never, Scope.Scope> =>
  Effect.gen(function*() {
    const proxy = yield* startFaultProxy(port)
    const broker = RedisBroker.layer({
      url: `redis://127.0.0.1:${proxy.port}`,
      lease: "1 second",
      beaconInterval: "500 millis",
      commandTimeout: "1 second"
    })
    const context = yield* Effect.orDie(Layer.build(Topics.layer({ topics: [Room] }).pipe(Layer.provide(broker))))
    return { context, proxy }
  })

/** What a subscriber has seen: offsets with texts, and gaps. */
export type Log = Array<Topic.Event<string, string>>

/** Subscribes, and goes on until the Scope closes. */
export const follow = (
  process: Process,
  log: Log,
  since?: Topic.Position
): Effect.Effect<Fiber.Fiber<void>, never, Scope.Scope> =>
  Topics.subscribe(Room, params, since === undefined ? {} : { since }).pipe(
    Stream.runForEach((event) => Effect.sync(() => void log.push(event))),
    Effect.provide(process.context),
    (following) => eventually(following, () => true),
    Effect.asVoid,
    Effect.forkScoped
  )

const faults: Record<string, (world: World) => Effect.Effect<unknown>> = {
  "cut one process": ({ one }) => Effect.sync(() => one().proxy.cut()),
  "kill commands": ({ redis }) => redis.command("CLIENT", "KILL", "TYPE", "normal"),
  "kill subscribers": ({ redis }) => redis.command("CLIENT", "KILL", "TYPE", "pubsub"),
  "forget scripts": ({ redis }) => redis.command("SCRIPT", "FLUSH"),
  "swallow for a while": ({ one, random }) => during(one().proxy, "swallow", random.below(500)),
  "swallow replies for a while": ({ one, random }) => during(one().proxy, "swallowReplies", random.below(500)),
  "stall for a while": ({ one, random }) => during(one().proxy, "stall", random.below(500)),
  "refuse for a while": ({ one, random }) => during(one().proxy, "refuse", random.below(500)),
  "stop Redis for a while": ({ random, redis }) =>
    Effect.andThen(redis.signal("SIGSTOP"), Effect.andThen(Effect.sleep(random.below(500)), redis.signal("SIGCONT"))),
  "restart Redis": ({ redis }) => redis.restart
}

/** Whatever the proxy did to bytes, the connections that lack them are of no use. */
const during = (proxy: FaultProxy, mode: Parameters<FaultProxy["set"]>[0], millis: number) =>
  Effect.gen(function*() {
    proxy.set(mode)
    yield* Effect.sleep(millis)
    if (mode !== "stall") proxy.cut()
    proxy.set("pass")
  })

interface World {
  readonly random: Random
  readonly redis: RedisServer
  /** One of the processes. */
  readonly one: () => Process
}

/** Runs a schedule. It fails with the seed, and with what was broken. */
export const runSchedule = (seed: number): Effect.Effect<void> =>
  Effect.suspend(() => {
    const happened: Array<string> = []
    const logs: ReadonlyArray<Log> = Array.from({ length: 6 }, () => [])
    return Effect.timeoutOrElse(schedule(seed, happened, logs), {
      duration: "5 minutes",
      orElse: () => {
        const seen = logs.map((log) => JSON.stringify(log.slice(-2)))
        return Effect.die(
          new Error(`seed ${seed} is not done: ${happened.join(", ")}; subscribers have ${seen.join(" ")}`)
        )
      }
    })
  })

const schedule = (seed: number, happened: Array<string>, logs: ReadonlyArray<Log>): Effect.Effect<void> =>
  Effect.scoped(Effect.gen(function*() {
    const random = new Random(seed)
    const redis = yield* startRedis("--appendonly", "yes", "--appendfsync", "always")
    const processes = [yield* startProcess(redis.port), yield* startProcess(redis.port)]
    const world: World = { random, redis, one: () => processes[random.below(2)] }
    const followers = yield* Effect.forEach(logs, (log, i) => follow(processes[i % 2], log))
    yield* until(() => logs.every(({ length }) => length > 0))
    const published: Array<string> = []
    const end = yield* Deferred.make<void>()
    const publishers = yield* Effect.forEach(processes, (process, i) =>
      Effect.forkChild(Effect.gen(function*() {
        for (let n = 0; !(yield* Deferred.isDone(end)); n++) {
          const text = `${i}/${n}`
          yield* publish(process, text)
          published.push(text)
          yield* Effect.sleep(random.below(5))
        }
      })))
    for (let i = 0; i < 3; i++) {
      yield* Effect.sleep(random.below(150))
      const name = Object.keys(faults)[random.below(Object.keys(faults).length)]
      happened.push(name)
      yield* faults[name](world)
    }
    yield* Deferred.succeed(end, undefined)
    yield* Fiber.joinAll(publishers)
    yield* publish(processes[0], "last")
    published.push("last")
    yield* until(() => logs.every(hasLast))
    yield* Fiber.interruptAll(followers)
    for (const log of logs) checkLog(log, published, `seed ${seed}: ${happened.join(", ")}`)
  }))

/** Repeats with one key until the broker has it. */
export const publish = (process: Process, text: string): Effect.Effect<void> =>
  Effect.asVoid(eventually(
    Effect.provide(Topics.publish(Room, params, text, { idempotencyKey: text }), process.context),
    () => true
  ))

const hasLast = (log: Log): boolean => log.some((event) => event._tag === "Message" && event.message === "last")

/** Each message once, in the order of offsets, without a gap: the history has all of them. */
const checkLog = (log: Log, published: ReadonlyArray<string>, what: string): void => {
  const messages = log.filter((event) => event._tag === "Message")
  assert.deepStrictEqual(log.filter((event) => event._tag === "Gap"), [], what)
  assert.deepStrictEqual(messages.map(({ position }) => position.offset), messages.map((_, i) => i + 1), what)
  assert.deepStrictEqual(messages.map(({ message }) => message).toSorted(), published.toSorted(), what)
}
