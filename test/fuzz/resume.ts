/**
 * Model of a feed that is resumed over a reconnecting client: the server numbers messages and replays them, connections are
 * cut at any point, runs are interrupted, handlers fail. A tape of choices decides what happens next, which fiber runs and
 * where it yields. In the end, each message must have been handled once, in order.
 */
import { Clock, Context, Effect, Exit, type Fiber, Latch, Option, Schedule, Scheduler, Scope } from "effect"
import { Connection, HandshakeError, type Message, Reconnecting, Resume, Transport } from "effect-ws"
import { strict as assert } from "node:assert"
import type { Target } from "./engine.ts"
import { ManualClock, RandomScheduler } from "./modelRuntime.ts"
import { Random, Tape } from "./random.ts"

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

const refused = new HandshakeError.ConnectFailed({
  phase: "connect",
  addresses: [],
  url: "ws://there/",
  code: "ECONNREFUSED",
  cause: new Error("connect ECONNREFUSED")
})

const contentOf = (message: Message.Message): string => message._tag === "Text" ? message.text : "binary"

/** The position of a message with a number; a greeting has none. */
const positionOf = (message: Message.Message): Option.Option<number> => {
  const value = Number(contentOf(message))
  return Number.isNaN(value) ? Option.none() : Option.some(value)
}

/** The most choices that a run makes until it must come to rest. */
const maxRounds = 5000

class Run {
  private readonly choices: Tape
  private readonly scheduler: RandomScheduler
  private readonly time = new ManualClock()
  private readonly scope = Scope.makeUnsafe()
  private readonly fork: <A, E>(effect: Effect.Effect<A, E>) => Fiber.Fiber<A, E>
  private readonly resume = Resume.make({ position: positionOf })
  private client!: Reconnecting.Reconnecting
  private readonly runs: Array<Fiber.Fiber<unknown, unknown>> = []

  // The server.
  private published = 0
  private greetings = 0
  private grown = Latch.makeUnsafe(false)
  private readonly links: Array<Transport.Transport> = []
  private readonly sinces: Array<number> = []

  // The program.
  private readonly handled: Array<string> = []
  /** Whether nothing fails any more. */
  private isCalm = false

  constructor(input: Uint8Array) {
    const setup = new Tape(input.subarray(0, 2))
    this.choices = new Tape(input.subarray(2))
    this.scheduler = new RandomScheduler(new Random(setup.below(65536)))
    const context = Context.make(Scheduler.Scheduler, this.scheduler).pipe(Context.add(Clock.Clock, this.time))
    this.fork = Effect.runForkWith(context)
  }

  async run(): Promise<string> {
    const made = this.fork(Scope.provide(this.connect, this.scope))
    await this.settleUntil(() => made.pollUnsafe() !== undefined)
    const exit = made.pollUnsafe()!
    assert.ok(Exit.isSuccess(exit))
    this.client = exit.value
    while (!this.choices.done) {
      this.step()
      if (this.choices.oneIn(2)) await turn()
    }
    this.isCalm = true
    this.publish()
    this.startRun()
    await this.settleUntil(() => this.handledNumbers.length >= this.published)
    this.fork(Scope.close(this.scope, Exit.void))
    await this.settleUntil(() => [...this.scheduler.fibers].every((fiber) => fiber.pollUnsafe() !== undefined))
    this.verify()
    return [this.links.length, this.runs.length, new Set(this.sinces).size, this.handled.length].map((n) =>
      Math.min(n, 4)
    ).join()
  }

  private get connect() {
    return Reconnecting.make(() => this.attempt, {
      schedule: Schedule.spaced("1 second"),
      onOpen: this.resume.onOpen((connection: Connection.Connection, position) => {
        const since = Option.getOrElse(position, () => 0)
        this.sinces.push(since)
        return connection.send(String(since))
      })
    })
  }

  private get attempt() {
    return Effect.gen({ self: this }, function*() {
      if (!this.isCalm && this.choices.oneIn(4)) return yield* Effect.fail(refused)
      const [left, right] = yield* Transport.makePair({ highWaterMark: this.choices.pick([16 * 1024, 40]) })
      const server = yield* Scope.provide(Connection.make(right, { role: "server", keepalive: false }), this.scope)
      yield* Effect.forkIn(Effect.ignore(this.serve(server)), this.scope)
      this.links.push(right)
      return yield* Connection.make(left, {
        role: "client",
        keepalive: false,
        inboundHighWaterMark: this.choices.pick([64 * 1024, 200])
      })
    })
  }

  /** Greets, replays what is behind a position, and goes on with what is published. */
  private serve(connection: Connection.Connection) {
    return Effect.gen({ self: this }, function*() {
      let sent = Number(contentOf(yield* connection.receive))
      yield* connection.send(`greeting ${++this.greetings}`)
      for (;;) {
        const { grown } = this
        while (sent < this.published) yield* connection.send(String(++sent))
        yield* grown.await
      }
    })
  }

  private handle(message: Message.Message): Effect.Effect<void, "failed"> {
    const record = Effect.sync(() => void this.handled.push(contentOf(message)))
    if (this.isCalm) return record
    switch (this.choices.below(8)) {
      case 0:
        return Effect.fail("failed")
      case 1:
        return Effect.andThen(Effect.sleep(500), record)
      case 2:
        return Effect.andThen(Effect.interruptible(Effect.sleep(500)), record)
      case 3:
        return Effect.andThen(record, Effect.sleep(500))
      case 4:
        return Effect.interruptible(Effect.andThen(Effect.yieldNow, record))
      default:
        return Effect.asVoid(Effect.andThen(Effect.yieldNow, record))
    }
  }

  // -- steps -------------------------------------------------------------------

  private step(): void {
    switch (this.choices.below(12)) {
      case 0:
      case 1:
        return this.publish()
      case 2:
        return this.startRun()
      case 3:
        return this.runs.at(this.choices.below(Math.max(1, this.runs.length)))?.interruptUnsafe()
      case 4:
        return this.links.at(-1)?.destroy()
      case 5:
        return this.links.at(-1 - this.choices.below(3))?.destroy()
      case 6:
        return this.time.pass(this.choices.pick([500, 1000]))
      default:
        for (let steps = this.choices.between(1, 30); steps > 0; steps--) this.scheduler.step()
    }
  }

  private publish(): void {
    this.published += this.choices.between(1, 5)
    const { grown } = this
    this.grown = Latch.makeUnsafe(false)
    grown.openUnsafe()
  }

  private startRun(): void {
    this.runs.push(this.fork(this.resume.runForEach(this.client, (message) => this.handle(message))))
  }

  private async settleUntil(isDone: () => boolean): Promise<void> {
    for (let round = 0; !isDone(); round++) {
      assert.ok(round < maxRounds, `no rest: handled ${this.handled.join()}, published ${this.published}`)
      while (!this.scheduler.idle) this.scheduler.step()
      await turn()
      if (this.scheduler.idle) this.time.pass(1000)
    }
  }

  // -- what must hold ------------------------------------------------------------

  private get handledNumbers(): ReadonlyArray<number> {
    return this.handled.map(Number).filter((n) => !Number.isNaN(n))
  }

  private verify(): void {
    assert.deepEqual(this.handledNumbers, Array.from({ length: this.published }, (_, i) => i + 1))
    assert.equal(new Set(this.handled).size, this.handled.length, `twice: ${this.handled.join()}`)
  }
}

export const resume: Target = {
  name: "resume",
  generate: (choices) => choices.bytes(2 + choices.size(300)),
  run: (input) => new Run(input).run()
}
