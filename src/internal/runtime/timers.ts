/**
 * Deadlines. Thousands of connections have deadlines, and most are cancelled. A
 * deadline therefore costs a small object instead of a fiber: all timers of one
 * Clock share a fiber, which sleeps until the earliest deadline, and exists only
 * while there are timers.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"

/** The fractional part of the golden ratio: the fractional parts of its multiples are evenly distributed. */
const golden = 0.618033988749895

/** What a timer calls. An object that has a timer can be this itself, which takes less memory than a function. */
export interface TimerTarget {
  readonly onTimer: () => void
}

/** A scheduled call. */
export class Timer {
  /** In milliseconds of the monotonic time of the Clock. */
  readonly deadline: number
  readonly target: (() => void) | TimerTarget
  /** The position in the heap, or -1 after the timer has fired or was cancelled. */
  index = -1

  constructor(deadline: number, target: (() => void) | TimerTarget) {
    this.deadline = deadline
    this.target = target
  }

  fire(): void {
    if (typeof this.target === "function") this.target()
    else this.target.onTimer()
  }
}

export class Timers {
  private static readonly byClock = new WeakMap<Clock.Clock, Timers>()

  /** Returns the timers of the Clock in a context. */
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
  /** A binary heap by deadline. */
  private readonly heap: Array<Timer> = []
  private fiber: Fiber.Fiber<void> | undefined
  /** The deadline that the fiber sleeps for. It is earlier than all timers if its own timer was cancelled. */
  private sleepsUntil = Number.POSITIVE_INFINITY
  private firing = false
  private phases = 0

  constructor(clock: Clock.Clock) {
    this.clock = clock
  }

  /** Calls `target` after a duration, in milliseconds, unless the timer is cancelled before. */
  schedule(millis: number, target: (() => void) | TimerTarget): Timer {
    const timer = new Timer(this.now() + millis, target)
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

  /** Returns the monotonic time of the Clock in milliseconds. */
  now(): number {
    return Number(this.clock.monotonicTimeNanosUnsafe()) / 1_000_000
  }

  /** Returns a phase from 0 to 1, at which a repetition begins in its interval, so that repetitions are spread. */
  nextPhase(): number {
    return (++this.phases * golden) % 1
  }

  // -- the fiber -------------------------------------------------------------

  private restart(): void {
    this.fiber?.interruptUnsafe()
    this.sleepsUntil = Number.POSITIVE_INFINITY
    this.fiber = this.heap.length === 0 ? undefined : Effect.runFork(this.loop)
  }

  /** Sleeps before it fires anything: the caller of `schedule` must have the timer first. */
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
      timer.fire()
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
