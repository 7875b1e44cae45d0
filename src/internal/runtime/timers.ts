/**
 * Deadlines. Thousands of connections wait for thousands of moments, and nearly
 * always nothing has to be done when one comes: so that waiting costs a small
 * object and not a fiber, all that goes by one Clock shares one fiber, which
 * sleeps until the first moment, and is there only while something is waited for.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"

/** The golden ratio's fraction: its multiples, without what is before the point, keep away from each other. */
const golden = 0.618033988749895

/** A moment that is waited for. */
export class Timer {
  /** In milliseconds of the Clock's monotonic time. */
  readonly deadline: number
  readonly callback: () => void
  /** Where it stands in the heap, or -1 once it has fired or was cancelled. */
  index = -1

  constructor(at: number, fire: () => void) {
    this.deadline = at
    this.callback = fire
  }
}

export class Timers {
  private static readonly byClock = new WeakMap<Clock.Clock, Timers>()

  /** The timers of the Clock in a context. */
  static of(context: Context.Context<never>): Timers {
    const clock = Context.get(context, Clock.Clock)
    let timers = Timers.byClock.get(clock)
    if (timers === undefined) {
      timers = new Timers(clock)
      Timers.byClock.set(clock, timers)
    }
    return timers
  }

  readonly clock: Clock.Clock
  /** A binary heap: the earliest is first. */
  private readonly heap: Array<Timer> = []
  private fiber: Fiber.Fiber<void> | undefined
  /** Until when the fiber sleeps. That may be earlier than the first moment: when what it slept for was cancelled. */
  private sleepsUntil = Number.POSITIVE_INFINITY
  private firing = false
  private phases = 0

  constructor(clock: Clock.Clock) {
    this.clock = clock
  }

  /** Calls `fire` after a duration, in milliseconds, unless it is cancelled before. */
  schedule(millis: number, fire: () => void): Timer {
    const timer = new Timer(this.now() + millis, fire)
    if (millis === Number.POSITIVE_INFINITY) return timer
    timer.index = this.heap.length
    this.heap.push(timer)
    this.siftUp(timer)
    if (timer.deadline < this.sleepsUntil && !this.firing) this.restart()
    return timer
  }

  cancel(timer: Timer | undefined): void {
    if (timer === undefined || timer.index < 0) return
    this.remove(timer)
    if (this.heap.length === 0 && !this.firing) this.restart()
  }

  /** In milliseconds of the Clock's monotonic time. */
  now(): number {
    return Number(this.clock.monotonicTimeNanosUnsafe()) / 1_000_000
  }

  /** Where in its interval a repetition begins, from 0 to 1, so that those that began together do not stay together. */
  nextPhase(): number {
    return (++this.phases * golden) % 1
  }

  // -- the fiber -------------------------------------------------------------

  private restart(): void {
    this.fiber?.interruptUnsafe()
    this.sleepsUntil = Number.POSITIVE_INFINITY
    this.fiber = this.heap.length === 0 ? undefined : Effect.runFork(this.loop)
  }

  /** Fires nothing before it has slept: whoever schedules has to have the timer first. */
  private readonly loop: Effect.Effect<void> = Effect.suspend(() => {
    if (this.heap.length === 0) {
      this.fiber = undefined
      this.sleepsUntil = Number.POSITIVE_INFINITY
      return Effect.void
    }
    this.sleepsUntil = this.heap[0].deadline
    const wait = Math.max(0, Math.ceil(this.sleepsUntil - this.now()))
    return Effect.flatMap(this.clock.sleep(Duration.millis(wait)), () => {
      this.fireDue()
      return this.loop
    })
  })

  private fireDue(): void {
    this.firing = true
    const now = this.now()
    while (this.heap.length > 0 && this.heap[0].deadline <= now) {
      const timer = this.heap[0]
      this.remove(timer)
      timer.callback()
    }
    this.firing = false
  }

  // -- the heap --------------------------------------------------------------

  private remove(timer: Timer): void {
    const last = this.heap.pop()!
    if (last !== timer) {
      this.put(last, timer.index)
      this.siftUp(last)
      this.siftDown(last)
    }
    timer.index = -1
  }

  private put(timer: Timer, index: number): void {
    timer.index = index
    this.heap[index] = timer
  }

  private siftUp(timer: Timer): void {
    while (timer.index > 0) {
      const { index } = timer
      const parent = this.heap[(index - 1) >> 1]
      if (parent.deadline <= timer.deadline) return
      this.put(timer, parent.index)
      this.put(parent, index)
    }
  }

  private siftDown(timer: Timer): void {
    for (;;) {
      const { index } = timer
      const left = this.heap[2 * index + 1]
      const right = this.heap[2 * index + 2]
      const child = right !== undefined && right.deadline < left.deadline ? right : left
      if (child === undefined || timer.deadline <= child.deadline) return
      this.put(timer, child.index)
      this.put(child, index)
    }
  }
}
