/** Runs an effect one step at a time, so that it can be interrupted at every one of them. */
import { Effect, Exit, Fiber, Scheduler, type Scope } from "effect"
import { settle } from "./memory.ts"

/** A scheduler whose fibers yield after so many operations, and go on only when they are told to. */
export class Steps implements Scheduler.Scheduler {
  readonly executionMode = "async"
  private readonly operations: number
  private readonly tasks: Array<() => void> = []
  private free = false

  constructor(operations = 1) {
    this.operations = operations
  }

  shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    // One takes up where it yielded.
    return fiber.currentOpCount > this.operations + 1
  }

  makeDispatcher(): Scheduler.SchedulerDispatcher {
    return { scheduleTask: (task) => this.free ? void setImmediate(task) : this.tasks.push(task), flush: () => {} }
  }

  get idle(): boolean {
    return this.tasks.length === 0
  }

  step(): void {
    this.tasks.shift()?.()
  }

  /** From here on, fibers go on by themselves: those that the effect has left behind. */
  release(): void {
    this.free = true
    for (const task of this.tasks.splice(0)) setImmediate(task)
  }
}

export interface Scenario<A, E> {
  /** What is interrupted. */
  readonly effect: Effect.Effect<A, E>
  /** What happens meanwhile, in order: the next, whenever the effect waits. */
  readonly events: ReadonlyArray<() => void>
  /** Whether the effect may wait for the outside world, when there are no more events. */
  readonly waits?: boolean
  /** What must hold afterwards. */
  readonly verify: (exit: Exit.Exit<A, E>) => Effect.Effect<void, unknown>
}

/**
 * Runs a scenario again and again, and interrupts its effect one step later
 * each time, until it is over before the interruption: with steps of one
 * operation, and of more, because a fiber that has just yielded does not yield
 * again right behind it. Answers how many points of interruption there were,
 * with steps of one.
 */
export const interruptAtEachStep = <A, E>(
  make: Effect.Effect<Scenario<A, E>, unknown, Scope.Scope>
): Effect.Effect<number, unknown> =>
  Effect.gen(function*() {
    const interrupts = (operations: number, at: number) =>
      Effect.scoped(Effect.flatMap(make, (scenario) => runUntil(scenario, new Steps(operations), at)))
    let points = 0
    while (yield* interrupts(1, points)) points++
    for (let operations = 2; operations <= 8; operations++) {
      for (let at = 0; yield* interrupts(operations, at); at++);
    }
    return points
  })

/** Answers whether the effect was still running when its time came. */
const runUntil = <A, E>({ effect, events, verify, waits }: Scenario<A, E>, steps: Steps, at: number) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(Effect.provideService(effect, Scheduler.Scheduler, steps), {
      startImmediately: true
    })
    yield* settle
    let event = 0
    let interrupted = false
    for (let count = 0; fiber.pollUnsafe() === undefined; count++) {
      if (count === at) {
        interrupted = true
        fiber.interruptUnsafe()
        break
      }
      if (!steps.idle) steps.step()
      else if (event < events.length) events[event++]()
      else {
        yield* settle
        if (waits !== true && steps.idle && fiber.pollUnsafe() === undefined) {
          throw new Error("the effect waits for something that never comes")
        }
      }
      yield* settle
    }
    while (fiber.pollUnsafe() === undefined) {
      if (!steps.idle) steps.step()
      else yield* settle
    }
    steps.release()
    for (; event < events.length; event++) events[event]()
    yield* settle
    yield* verify(fiber.pollUnsafe()!)
    return interrupted
  })
