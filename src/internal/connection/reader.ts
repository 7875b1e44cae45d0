/**
 * Effects that read from a queue, and the list of those that wait.
 *
 * A reader removes data in the last step of its effect: a fiber that is
 * interrupted before that step has removed nothing, and there is no step after.
 */
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import * as Fiber from "effect/Fiber"
import type { ConnectionClosed } from "../../ConnectionError.ts"

/** Runs when the connection has ended and no data is left. */
export type OnEnd<E> = (closed: ConnectionClosed) => Effect.Effect<never, E>

/** A way to read from a queue. */
export interface ReadOperation<Q, A> {
  readonly isReady: (queue: Q) => boolean
  /** Removes and returns data, or returns undefined if another fiber was faster. */
  readonly next: (queue: Q) => A | undefined
}

/** The parts of a queue that all readers use. */
export interface Readable {
  readonly readers: Readers
  /** How the connection has ended or will end. */
  readonly closed: ConnectionClosed | undefined
  /** Whether no more data will arrive, and none is being decoded. */
  readonly isEnding: boolean
  /** Whether the next frame must be decoded before anything can be read, and no fiber decodes it. */
  readonly hasToDecode: boolean
  readonly decodeNext: Effect.Effect<void>
}

/**
 * An effect that suspends until its operation is ready, then runs it.
 *
 * The reader is also the entry of its waiting fiber in the list, and can run many
 * times: with thousands of connections, each object of a wait is expensive.
 */
export class Reader<Q extends Readable, A, E> extends Effectable.Class<A, E> {
  private readonly queue: Q
  private readonly operation: ReadOperation<Q, A>
  private readonly onEnd: OnEnd<E>
  /** The fiber that waits, and the function that resumes it. */
  private fiber: Fiber.Fiber<unknown, unknown> | undefined = undefined
  private resume: ((effect: Effect.Effect<A, E>) => void) | undefined = undefined
  /** The reader behind this one in the list. */
  next: Reader<any, any, any> | undefined = undefined

  /** Runs the operation. If the fiber yielded since the check and the data is gone, it checks again. */
  private readonly read: Effect.Effect<A, E> = Effect.catchDefect(
    Effect.sync(() => {
      const value = this.operation.next(this.queue)
      if (value === undefined) throw this
      return value
    }),
    (defect) => defect === this ? this : Effect.die(defect)
  )

  /**
   * Waits in the list. There is no cleanup for an interruption, because it would
   * take a sixteenth of all instructions of a message: waking an interrupted fiber
   * does nothing, and the next reader that waits removes the entry.
   */
  private readonly wait = Effect.callback<A, E>((resume) => {
    // The fiber may have yielded since the check.
    if (this.isReady) return resume(this)
    this.queue.readers.removeCancelled()
    // Another fiber waits with this reader.
    if (this.resume !== undefined) return resume(new Reader(this.queue, this.operation, this.onEnd))
    this.fiber = Fiber.getCurrent()
    this.resume = resume
    this.queue.readers.add(this)
  })

  constructor(queue: Q, operation: ReadOperation<Q, A>, onEnd: OnEnd<E>) {
    super()
    this.queue = queue
    this.operation = operation
    this.onEnd = onEnd
  }

  asEffect(): Effect.Effect<A, E> {
    if (this.operation.isReady(this.queue)) return this.read
    if (this.queue.hasToDecode) return Effect.andThen(this.queue.decodeNext, this)
    return this.queue.isEnding ? this.onEnd(this.queue.closed!) : this.wait
  }

  /** Whether the fiber can go on: to read, to decode, or to end. */
  get isReady(): boolean {
    return this.operation.isReady(this.queue) || this.queue.hasToDecode || this.queue.isEnding
  }

  /** Whether the waiting fiber was interrupted, and has ended. */
  get isCancelled(): boolean {
    return this.fiber?.pollUnsafe() !== undefined
  }

  /** Resumes the waiting fiber, if there is one. A fiber that finds nothing waits again. */
  wake(): void {
    const { resume } = this
    this.fiber = undefined
    this.resume = undefined
    resume?.(this.queue.closed === undefined ? this.read : this)
  }
}

/** The readers with a waiting fiber, in order. */
export class Readers {
  private first: Reader<any, any, any> | undefined
  private last: Reader<any, any, any> | undefined
  /**
   * Whether a check runs on behalf of a waiting fiber, which may be interrupted
   * without having ended. Such a check must not drop data that another reader could
   * want. The fiber checks again itself when it runs.
   */
  isProbing = false

  add(reader: Reader<any, any, any>): void {
    if (this.last === undefined) this.first = reader
    else this.last.next = reader
    this.last = reader
  }

  /** Removes a reader, unless a check has woken and removed it. */
  private remove(reader: Reader<any, any, any>): void {
    let previous: Reader<any, any, any> | undefined
    for (let at = this.first; at !== reader; at = at.next) {
      if (at === undefined) return
      previous = at
    }
    if (previous === undefined) this.first = reader.next
    else previous.next = reader.next
    if (this.last === reader) this.last = previous
    reader.next = undefined
  }

  /** Removes the readers with an interrupted fiber. */
  removeCancelled(): void {
    for (let reader = this.first, next; reader !== undefined; reader = next) {
      next = reader.next
      if (!reader.isCancelled) continue
      this.remove(reader)
      reader.wake()
    }
  }

  /** Wakes the readers that are ready, or may be. */
  wake(): void {
    for (let reader = this.first; reader !== undefined;) {
      if (reader.isCancelled || this.probe(reader)) {
        this.remove(reader)
        reader.wake()
        // The woken fiber may have changed the list.
        reader = this.first
      } else reader = reader.next
    }
  }

  private probe(reader: Reader<any, any, any>): boolean {
    this.isProbing = true
    const isReady = reader.isReady
    this.isProbing = false
    return isReady
  }
}
