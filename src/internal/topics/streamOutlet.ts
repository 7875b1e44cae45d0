/**
 * Delivers events to a fiber that pulls. It keeps a few events, so that a fiber that handles
 * one while others arrive is not slow. All others are behind its cursor.
 */
import type * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import type { Cursor, Outlet } from "./cursor.ts"
import type { ChannelEvent, Entry } from "./entry.ts"

/** The events that are kept until the next pull. */
const capacity = 16

export class StreamOutlet implements Outlet {
  /** The events that the next pull returns. */
  private pulled: Array<ChannelEvent> = []
  private wake: (() => void) | undefined
  /** There is something to feed, since the last pull. */
  private isReady = false

  write(_: Cursor, { event }: Entry): boolean {
    if (this.pulled.length >= capacity) return false
    this.pulled.push(event)
    this.wake?.()
    return true
  }

  /** The cursor fell behind, or the history has arrived. */
  ready(): void {
    this.isReady = true
    this.wake?.()
  }

  /** Returns the next events, and waits for them. An interrupted fiber leaves them for the next pull. */
  pull(cursor: Cursor): Effect.Effect<Arr.NonEmptyReadonlyArray<ChannelEvent>> {
    return Effect.suspend(() => {
      if (this.pulled.length === 0) {
        this.isReady = false
        cursor.channel.feed(cursor, capacity)
      }
      if (this.pulled.length === 0) return Effect.andThen(this.wait, this.pull(cursor))
      const { pulled } = this
      this.pulled = []
      return Effect.succeed(pulled as unknown as Arr.NonEmptyReadonlyArray<ChannelEvent>)
    })
  }

  private readonly wait: Effect.Effect<void> = Effect.callback((resume) => {
    // The fiber may have yielded since the cursor was fed.
    if (this.isReady || this.pulled.length > 0) return resume(Effect.void)
    this.wake = () => {
      this.wake = undefined
      resume(Effect.void)
    }
    return Effect.sync(() => {
      this.wake = undefined
    })
  })
}
