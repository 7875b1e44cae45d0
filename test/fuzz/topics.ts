/**
 * Model of topics: two processes over one broker, with brokers between that delay, drop and
 * repeat events and fail; subscribers that stall, resume, end and are interrupted, and members. A
 * tape of choices alone decides what happens. In the end, each subscriber must have each message
 * of its channel once and in order, or a gap in its place, and the members that there are.
 */
import { Clock, Context, Effect, Exit, type Fiber, Scheduler, Scope } from "effect"
import type { Broker, Topic } from "effect-ws"
import { strict as assert } from "node:assert"
import type { ChannelOptions } from "../../src/internal/topics/channel.ts"
import { jsonFormat } from "../../src/internal/topics/codec.ts"
import type { Cursor, Outlet } from "../../src/internal/topics/cursor.ts"
import type { ChannelEvent, Entry } from "../../src/internal/topics/entry.ts"
import { type Attached, Hub } from "../../src/internal/topics/hub.ts"
import { makeMemoryBroker } from "../../src/internal/topics/memoryBroker.ts"
import { StreamOutlet } from "../../src/internal/topics/streamOutlet.ts"
import { FaultyBroker } from "../support/faultyBroker.ts"
import type { Target } from "./engine.ts"
import { ManualClock, RandomScheduler } from "./modelRuntime.ts"
import { Random, Tape } from "./random.ts"

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** The key of a message: its first character. */
const keyOf = (data: Uint8Array): string => String.fromCharCode(data[0])

/** A subscriber that has room for so many events. */
class Subscriber implements Outlet {
  readonly log: Array<ChannelEvent> = []
  room = Number.POSITIVE_INFINITY
  isClosed = false
  private isPumping = false
  private readonly waiting: Array<Cursor> = []

  write(_: Cursor, entry: Entry): boolean {
    if (this.room === 0) return false
    this.room--
    this.log.push(entry.event)
    return true
  }

  /** A connection with room feeds at once. */
  ready(cursor: Cursor): void {
    if (!this.waiting.includes(cursor)) this.waiting.push(cursor)
    if (this.room > 0 && !this.isPumping) this.pump()
  }

  closeSlow(): void {
    this.isClosed = true
  }

  /** Feeds the cursors that are behind, as a connection does when it has room. */
  pump(): void {
    this.isPumping = true
    for (let count = this.waiting.length; count > 0; count--) {
      const cursor = this.waiting.shift()!
      if (cursor.channel.feed(cursor, 3) !== "done") this.ready(cursor)
    }
    this.isPumping = false
  }
}

/** What a subscription must explain at the end. */
interface Subscription {
  readonly channel: string
  readonly hub: Hub
  readonly scope: Scope.Closeable
  readonly outlet: Subscriber | StreamOutlet
  readonly log: Array<ChannelEvent>
  readonly since: Topic.Position | undefined
  readonly isInline: boolean
  readonly fiber: Fiber.Fiber<Attached, Broker.BrokerUnavailable>
  attached: Attached | undefined
  isEnded: boolean
}

interface Process {
  readonly broker: FaultyBroker
  readonly hub: Hub
}

class Run {
  readonly trace: Array<string> = []
  private readonly choices: Tape
  private readonly time = new ManualClock()
  private readonly scheduler: RandomScheduler
  private readonly fork: <A, E>(effect: Effect.Effect<A, E>) => Fiber.Fiber<A, E>
  private readonly scope = Scope.makeUnsafe()
  private readonly options: ChannelOptions
  private readonly historySize: number
  private readonly memory: number
  private broker!: Broker.Broker
  private processes!: ReadonlyArray<Process>
  private readonly channels = ["a", "b"]
  /** Messages by channel, and the position before the first in `epoch`. */
  private readonly published = new Map<string, Array<string>>()
  private readonly subscriptions: Array<Subscription> = []
  private readonly members: Array<{ readonly scope: Scope.Closeable; readonly fiber: Fiber.Fiber<void, unknown> }> = []
  private hasGap = false
  private count = 0

  constructor(input: Uint8Array) {
    const setup = new Tape(input.subarray(0, 8))
    this.choices = new Tape(input.subarray(8))
    this.scheduler = new RandomScheduler(new Random(setup.below(65536)))
    this.historySize = setup.pick([0, 3, 600, 100_000])
    this.memory = setup.pick([32 * 1024 * 1024, 2000, 0])
    this.options = {
      historySize: this.historySize,
      hasPresence: setup.pick([true, false]),
      slowConsumer: setup.pick(["catchUp", "latest", "skip", "close"]),
      key: setup.pick([keyOf, () => ""])
    }
    const context = Context.make(Scheduler.Scheduler, this.scheduler).pipe(Context.add(Clock.Clock, this.time))
    this.fork = Effect.runForkWith(context)
  }

  async run(): Promise<string> {
    await this.start()
    while (!this.choices.done) {
      this.step()
      if (this.choices.oneIn(2)) await turn()
    }
    await this.finish()
    for (const [index, subscription] of this.subscriptions.entries()) {
      this.note(`what ${index} received: ${JSON.stringify(subscription.log)}`)
      this.verify(subscription)
    }
    await this.end()
    const { historySize, options: { slowConsumer } } = this
    return `${slowConsumer} ${historySize} ${this.memory} ${this.hasGap} ${this.subscriptions.length > 3}`
  }

  private async start(): Promise<void> {
    this.broker = await this.complete(Scope.provide(makeMemoryBroker({}), this.scope))
    const make = Effect.gen({ self: this }, function*() {
      const broker = new FaultyBroker(this.broker)
      return { broker, hub: yield* Hub.make(broker, { memory: this.memory, linger: 1000, maxBacklog: 3000 }) }
    })
    this.processes = await this.complete(Scope.provide(Effect.all([make, make]), this.scope))
  }

  private async complete<A, E>(effect: Effect.Effect<A, E>): Promise<A> {
    const fiber = this.fork(effect)
    for (let turns = 0; fiber.pollUnsafe() === undefined; turns++) {
      assert.ok(turns < 10_000, "an effect must end")
      this.scheduler.step()
      await turn()
    }
    const exit = fiber.pollUnsafe()!
    assert.ok(Exit.isSuccess(exit), String(exit))
    return exit.value
  }

  // -- steps -------------------------------------------------------------------

  private step(): void {
    const process = this.choices.pick(this.processes)
    const channel = this.choices.pick(this.channels)
    switch (this.choices.below(24)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
        return this.publish(process, channel)
      case 5:
      case 6:
      case 7:
        return this.subscribe(process, channel)
      case 8:
        return this.endOne()
      case 9:
      case 10:
        return this.stall()
      case 11:
      case 12:
        return this.pump()
      case 13:
        return this.join(process, channel)
      case 14:
        return this.leave()
      case 15:
      case 16:
        return this.disturb(process)
      case 17:
        return this.fail(process)
      case 18:
        this.note("time passes")
        return this.time.pass(this.choices.pick([1, 100, 2000]))
      default:
        for (let count = this.choices.between(1, 30); count > 0; count--) this.scheduler.step()
    }
  }

  private note(what: string): void {
    this.trace.push(what)
  }

  private publish({ hub }: Process, channel: string): void {
    const text = `${this.choices.pick(["x", "y"])}${this.count++}`
    this.note(`publish ${text} in ${channel}`)
    const history = this.historySize === 0 ? undefined : { size: this.historySize, ttl: 3_600_000 }
    // The memory broker publishes in one step. A publication that is unknown would not be in the model.
    const exit = Effect.runSyncExit(this.broker.publish(channel, { data: encoder.encode(text) }, {
      history: history as never
    }))
    assert.ok(Exit.isSuccess(exit))
    const texts = this.published.get(channel) ?? []
    this.published.set(channel, [...texts, text])
    assert.equal(exit.value.offset, texts.length + 1)
    assert.ok(hub.budget.used <= Math.max(this.memory, 2000), "memory is bounded")
  }

  private subscribe({ hub }: Process, channel: string): void {
    const scope = Scope.makeUnsafe()
    const isStream = this.choices.oneIn(4)
    const outlet = isStream ? new StreamOutlet() : new Subscriber()
    const since = this.choices.oneIn(2) ? this.earlier(channel) : undefined
    const limit = !isStream && this.choices.oneIn(3) ? this.choices.pick([2, 1000]) : undefined
    const fiber = this.fork(Scope.provide(
      hub.attach(channel, {
        outlet,
        format: jsonFormat,
        channel: this.options,
        since,
        recover: limit ?? "feed"
      }),
      scope
    ))
    this.note(
      `${this.subscriptions.length} subscribes to ${channel} since ${since?.epoch} ${since?.offset}, ${limit ?? "feed"}`
    )
    this.subscriptions.push({
      channel,
      hub,
      scope,
      outlet,
      log: outlet instanceof Subscriber ? outlet.log : [],
      since,
      isInline: limit !== undefined,
      fiber,
      attached: undefined,
      isEnded: false
    })
    if (this.choices.oneIn(8)) fiber.interruptUnsafe()
  }

  /** A position that a subscriber of the channel has had, or one of another epoch. */
  private earlier(channel: string): Topic.Position {
    const known = this.subscriptions.filter((subscription) =>
      subscription.channel === channel && subscription.attached !== undefined
    )
    if (known.length === 0 || this.choices.oneIn(8)) return { epoch: "other", offset: this.choices.below(5) }
    const { attached } = this.choices.pick(known)
    return this.choices.oneIn(2) ? attached!.cursor.position : attached!.position
  }

  /** Starts subscriptions that are confirmed, and lets streams pull. */
  private startConfirmed(): void {
    for (const subscription of this.subscriptions) {
      const exit = subscription.fiber.pollUnsafe()
      if (subscription.attached !== undefined || subscription.isEnded || exit === undefined) continue
      if (Exit.isFailure(exit)) {
        subscription.isEnded = true
        this.fork(Scope.close(subscription.scope, Exit.void))
        continue
      }
      const attached = subscription.attached = exit.value
      subscription.log.push({ _tag: "Subscribed", position: attached.position, members: attached.members ?? [] })
      attached.start()
      const { log, outlet } = subscription
      if (outlet instanceof StreamOutlet) {
        const pull: Effect.Effect<void> = Effect.flatMap(outlet.pull(attached.cursor), (events) => {
          log.push(...events)
          return pull
        })
        this.fork(Effect.andThen(Effect.forkIn(pull, subscription.scope), Effect.void))
      }
    }
  }

  private endOne(): void {
    const open = this.subscriptions.filter(({ isEnded }) => !isEnded)
    if (open.length === 0) return
    const subscription = this.choices.pick(open)
    this.note(`${this.subscriptions.indexOf(subscription)} ends`)
    subscription.isEnded = true
    if (this.choices.oneIn(2)) subscription.attached?.detach()
    subscription.fiber.interruptUnsafe()
    this.fork(Scope.close(subscription.scope, Exit.void))
  }

  private stall(): void {
    if (this.subscriptions.length === 0) return
    const { outlet } = this.choices.pick(this.subscriptions)
    if (!(outlet instanceof Subscriber)) return
    outlet.room = this.choices.pick([0, 0, 1, 5])
  }

  private pump(): void {
    this.startConfirmed()
    if (this.subscriptions.length === 0) return
    const { outlet } = this.choices.pick(this.subscriptions)
    if (!(outlet instanceof Subscriber)) return
    outlet.room = this.choices.pick([1, 4, Number.POSITIVE_INFINITY])
    outlet.pump()
  }

  private join({ hub }: Process, channel: string): void {
    if (!this.options.hasPresence) return
    const scope = Scope.makeUnsafe()
    const member = { id: `m${this.choices.below(4)}`, info: encoder.encode(`"${this.count++}"`) }
    this.note(`${member.id} joins ${channel}`)
    const fiber = this.fork(Scope.provide(hub.join(channel, member), scope))
    if (this.choices.oneIn(4)) fiber.interruptUnsafe()
    this.members.push({ scope, fiber })
  }

  private leave(): void {
    if (this.members.length === 0) return
    const [{ fiber, scope }] = this.members.splice(this.choices.below(this.members.length), 1)
    this.note("a member leaves")
    fiber.interruptUnsafe()
    this.fork(Scope.close(scope, Exit.void))
  }

  private disturb({ broker }: Process): void {
    const inflights = [...broker.subscriptions]
    broker.delays = this.choices.oneIn(2)
    if (inflights.length === 0) return
    const inflight = this.choices.pick(inflights)
    switch (this.choices.below(4)) {
      case 0:
        return inflight.deliver(this.choices.between(1, 3))
      case 1:
        this.note(`an event is lost in ${inflight.channel}`)
        return inflight.drop()
      case 2:
        return inflight.repeat()
      case 3:
        this.note(`lost is told in ${inflight.channel}`)
        return inflight.tellLost()
    }
  }

  private fail({ broker }: Process): void {
    broker.isDown = this.choices.oneIn(3)
    const latch = this.choices.pick([broker.before, broker.behind])
    if (this.choices.oneIn(2)) latch.closeUnsafe()
    else latch.openUnsafe()
  }

  // -- the end -----------------------------------------------------------------

  private async finish(): Promise<void> {
    this.note("everything recovers")
    for (const { broker } of this.processes) {
      broker.isDown = false
      broker.delays = false
      broker.before.openUnsafe()
      broker.behind.openUnsafe()
      for (const inflight of broker.subscriptions) {
        inflight.deliver()
        if (inflight.hasDropped) inflight.tellLost()
      }
    }
    for (let quiet = 0, turns = 0; quiet < 30; quiet++, turns++) {
      assert.ok(turns < 3000, "everything must come to rest")
      if (!this.scheduler.idle) quiet = 0
      for (let count = 0; count < 50; count++) this.scheduler.step()
      this.startConfirmed()
      for (const { isEnded, outlet } of this.subscriptions) {
        if (!(outlet instanceof Subscriber) || isEnded) continue
        outlet.room = Number.POSITIVE_INFINITY
        outlet.pump()
      }
      this.time.pass(quiet < 10 ? 1 : 100)
      await turn()
    }
  }

  private verify({ attached, channel, isEnded, isInline, log, outlet, since }: Subscription): void {
    if (attached === undefined) return
    const published = this.published.get(channel) ?? []
    const { position: top } = Effect.runSync(this.broker.history(channel, { limit: 0 }))
    const events = isInline ? [...attached.publications, ...log.slice(1)] : log.slice(1)
    let position = isInline && since !== undefined && attached.isRecovered ? since : attached.position
    // Publications that came with the confirmation end at its position.
    if (isInline && since !== undefined && !attached.isRecovered) {
      position = { epoch: top.epoch, offset: (attached.publications[0]?.offset ?? attached.position.offset + 1) - 1 }
      this.hasGap = true
    }
    const start = position
    const missing = new Set<number>()
    for (const event of events) {
      if (event._tag === "Publication") {
        const { data, epoch, offset } = event
        assert.equal(epoch, top.epoch)
        assert.equal(decoder.decode(data), published[offset - 1], "a message has its offset")
        assert.ok(epoch !== position.epoch || offset > position.offset, `offset ${offset} comes once, in order`)
        for (let left = position.offset + 1; left < offset; left++) missing.add(left)
        position = { epoch, offset }
      } else if (event._tag === "Gap") {
        this.hasGap = true
        assert.deepEqual(event.from, position, "a gap begins where the subscriber is")
        assert.ok(event.to.epoch !== position.epoch || event.to.offset > position.offset, "a gap ends further on")
        position = event.to
      }
    }
    assert.ok(this.options.slowConsumer === "latest" || missing.size === 0, `missing: ${[...missing].join()}`)
    if (isEnded || (outlet instanceof Subscriber && outlet.isClosed)) return
    assert.deepEqual(position, top, "a subscriber reaches the newest message")
    if (this.options.slowConsumer === "latest") this.verifyLatest(events, missing, published)
    if (this.historySize === 100_000 && ["catchUp", "close"].includes(this.options.slowConsumer)) {
      const isGap = events.some(({ _tag }) => _tag === "Gap")
      assert.ok(
        !isGap || start.epoch !== top.epoch,
        `with all history there is no gap: ${JSON.stringify({ start, events })}`
      )
    }
    if (this.options.hasPresence) this.verifyMembers(channel, log)
  }

  /** Messages are only left out if a newer one of the same key was delivered, or is in a gap. */
  private verifyLatest(
    events: ReadonlyArray<ChannelEvent>,
    missing: ReadonlySet<number>,
    published: ReadonlyArray<string>
  ): void {
    for (const offset of missing) {
      const key = this.options.key(encoder.encode(published[offset - 1]))
      const isReplaced = events.some((event) =>
        event._tag === "Publication"
          ? event.offset > offset && this.options.key(event.data) === key
          : event._tag === "Gap" && event.to.offset > offset
      )
      assert.ok(isReplaced, `a newer message replaces ${offset}`)
    }
  }

  private verifyMembers(channel: string, log: ReadonlyArray<ChannelEvent>): void {
    const members = new Map<string, string>()
    for (const event of log) {
      if (event._tag === "Subscribed") {
        members.clear()
        for (const { id, info } of event.members) members.set(id, decoder.decode(info))
      } else if (event._tag === "Joined") members.set(event.id, decoder.decode(event.info))
      else if (event._tag === "Left") members.delete(event.id)
    }
    const actual = Effect.runSync(this.broker.members(channel)).members
    assert.deepEqual(
      [...members].toSorted(),
      actual.map(({ id, info }): [string, string] => [id, decoder.decode(info)]).toSorted(),
      "a subscriber knows the members"
    )
  }

  /** All ends, and nothing stays. */
  private async end(): Promise<void> {
    for (const { scope } of this.subscriptions) this.fork(Scope.close(scope, Exit.void))
    for (const { scope } of this.members) this.fork(Scope.close(scope, Exit.void))
    for (let turns = 0; turns < 40; turns++) {
      for (let count = 0; count < 200; count++) this.scheduler.step()
      this.time.pass(100)
      await turn()
    }
    for (const { broker, hub } of this.processes) {
      assert.equal(hub.size, 0, "no channel stays")
      assert.equal(broker.subscriptions.size, 0, "no subscription stays")
      assert.equal(hub.budget.used, 0, "no event stays")
      assert.equal(hub.counters.behind, 0, "no subscriber stays")
    }
    for (const channel of this.channels) {
      assert.deepEqual(Effect.runSync(this.broker.members(channel)).members, [], "no member stays")
    }
    await this.complete(Scope.close(this.scope, Exit.void))
  }
}

export const topicsModel: Target = {
  name: "topics-model",
  generate: (choices) => choices.bytes(8 + choices.size(600)),
  run: async (input) => {
    const run = new Run(input)
    try {
      return await run.run()
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${run.trace.join("\n")}`, { cause: error })
    }
  }
}
