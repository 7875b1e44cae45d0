/** What a run of the connection model controls: the order of fibers, the time, and an extension that notices mistakes. */
import { Clock, Duration, Effect, type Fiber, type Scheduler } from "effect"
import { type Extension, Frame, ProtocolError } from "effect-ws"
import { strict as assert } from "node:assert"
import type { Choices } from "./random.ts"

/** Yields fibers at random, and resumes them in any order, one at a time. */
export class RandomScheduler implements Scheduler.Scheduler {
  readonly executionMode = "async"
  /** All fibers that have run. */
  readonly fibers = new Set<Fiber.Fiber<unknown, unknown>>()
  private readonly choices: Choices
  private readonly tasks: Array<() => void> = []

  constructor(choices: Choices) {
    this.choices = choices
  }

  shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    this.fibers.add(fiber)
    // Effect's own schedulers never yield before the first operation of a resumed fiber.
    return fiber.currentOpCount > 1 && this.choices.oneIn(4)
  }

  makeDispatcher(): Scheduler.SchedulerDispatcher {
    return { scheduleTask: (task) => void this.tasks.push(task), flush: () => {} }
  }

  get idle(): boolean {
    return this.tasks.length === 0
  }

  step(): void {
    if (this.idle) return
    this.tasks.splice(this.choices.below(this.tasks.length), 1)[0]()
  }
}

/** A clock that stands still between calls of `pass`. */
export class ManualClock implements Clock.Clock {
  private now = 0
  private sleepers: Array<{ readonly deadline: number; readonly wake: () => void }> = []

  get sleeperCount(): number {
    return this.sleepers.length
  }

  currentTimeMillisUnsafe(): number {
    return this.now
  }
  currentTimeNanosUnsafe(): bigint {
    return BigInt(this.now) * 1_000_000n
  }
  monotonicTimeNanosUnsafe(): bigint {
    return this.currentTimeNanosUnsafe()
  }
  readonly currentTimeMillis = Effect.sync(() => this.currentTimeMillisUnsafe())
  readonly currentTimeNanos = Effect.sync(() => this.currentTimeNanosUnsafe())
  readonly monotonicTimeNanos = this.currentTimeNanos

  sleep(duration: Duration.Duration): Effect.Effect<void> {
    return Effect.callback((resume) => {
      const sleeper = { deadline: this.now + Duration.toMillis(duration), wake: () => resume(Effect.void) }
      this.sleepers.push(sleeper)
      return Effect.sync(() => {
        this.sleepers = this.sleepers.filter((other) => other !== sleeper)
      })
    })
  }

  pass(milliseconds: number): void {
    this.now += milliseconds
    const due = this.sleepers.filter(({ deadline }) => deadline <= this.now)
    this.sleepers = this.sleepers.filter(({ deadline }) => deadline > this.now)
    for (const { wake } of due) wake()
  }
}

/** Encodes, or decodes, the payload of a data frame: XOR with the number of data frames before it. */
export const xorWithCount = (payload: Uint8Array, count: number): Uint8Array => payload.map((byte) => byte ^ count)

/**
 * An extension whose output depends on the number of frames before: it is wrong unless
 * each data frame is encoded once, in order, and one at a time. A slow one suspends for some frames.
 */
export class CountingExtension implements Extension.Session {
  private readonly choices: Choices
  private readonly slow: boolean
  private readonly counts = { encode: 0, decode: 0 }
  private readonly busy = { encode: false, decode: false }

  constructor(choices: Choices, slow: boolean) {
    this.choices = choices
    this.slow = slow
  }

  get negotiated(): Extension.Negotiated {
    return { entry: { name: "x-counting", parameters: [] }, reservedBits: 4, open: Effect.succeed(this) }
  }

  readonly encode = (frame: Frame.Frame): Frame.Frame | Effect.Effect<Frame.Frame> =>
    this.transform("encode", frame, frame.opcode === Frame.Opcode.Continuation ? 0 : 4)

  readonly decode = (frame: Frame.Frame, { limit, used }: Extension.SizeBudget) => {
    const size = used + frame.payload.length
    return size > limit ? new ProtocolError.MessageTooLarge({ size, limit }) : this.transform("decode", frame, 0)
  }

  private transform(
    direction: "encode" | "decode",
    { fin, opcode, payload }: Frame.Frame,
    reserved: number
  ): Frame.Frame | Effect.Effect<Frame.Frame> {
    assert.ok(!this.busy[direction], "an extension transforms one frame at a time")
    const frame = new Frame.Frame(opcode, xorWithCount(payload, this.counts[direction]++), fin, reserved)
    if (!this.slow || this.choices.oneIn(2)) return frame
    this.busy[direction] = true
    return Effect.map(Effect.replicateEffect(Effect.yieldNow, this.choices.between(1, 4)), () => {
      this.busy[direction] = false
      return frame
    })
  }
}
