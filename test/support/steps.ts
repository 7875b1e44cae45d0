/** Runs an effect one step at a time, so that it can be interrupted at every one of them. */
import { Effect, Exit, Fiber, Scheduler, type Scope } from "effect"
import { settle } from "./memory.ts"

/** A scheduler whose fibers yield after each operation, and go on only when they are told to. */
export class Steps implements Scheduler.Scheduler {
  readonly executionMode = "async"
  private readonly tasks: Array<() => void> = []

  shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    // The first two take up where it yielded.
    return fiber.currentOpCount > 2
  }

  makeDispatcher(): Scheduler.SchedulerDispatcher {
    return { scheduleTask: (task) => this.tasks.push(task), flush: () => {} }
  }

  get idle(): boolean {
    return this.tasks.length === 0
  }

  step(): void {
    this.tasks.shift()?.()
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
 * each time, until it is over before the interruption. Answers how many points
 * of interruption there were.
 */
export const interruptAtEachStep = <A, E>(
  make: Effect.Effect<Scenario<A, E>, unknown, Scope.Scope>
): Effect.Effect<number, unknown> =>
  Effect.gen(function*() {
    for (let at = 0;; at++) {
      const interrupted = yield* Effect.scoped(Effect.flatMap(make, (scenario) => runUntil(scenario, at)))
      if (!interrupted) return at
    }
  })

/** Answers whether the effect was still running when its time came. */
const runUntil = <A, E>({ effect, events, verify, waits }: Scenario<A, E>, at: number) =>
  Effect.gen(function*() {
    const steps = new Steps()
    const fiber = yield* Effect.forkChild(Effect.provideService(effect, Scheduler.Scheduler, steps), {
      startImmediately: true
    })
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
    for (; event < events.length; event++) events[event]()
    yield* settle
    yield* verify(fiber.pollUnsafe()!)
    return interrupted
  })
