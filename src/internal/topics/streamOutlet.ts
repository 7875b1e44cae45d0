/** Delivers events to a fiber that pulls. It keeps one event at most: what it has not pulled is behind its cursor. */
import type * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import type { Cursor, Outlet } from "./cursor.ts"
import type { ChannelEvent, Entry } from "./entry.ts"

/** The events that a pull returns at most. */
const pullSize = 64

export class StreamOutlet implements Outlet {
  /** The events that the next pull returns. */
  private pulled: Array<ChannelEvent> = []
  /** While the outlet takes events: at most this many. */
  private room = 0
  private wake: (() => void) | undefined
  /** There is something to feed, since the last pull. */
  private isReady = false

  write(_: Cursor, { event }: Entry): boolean {
    if (this.room === 0) return false
    this.room--
    this.pulled.push(event)
    this.wake?.()
    return true
  }

  /** The cursor fell behind, or the history has arrived. */
  ready(): void {
    this.isReady = true
    this.wake?.()
  }

  /** Returns the next events, and waits for them. */
  pull(cursor: Cursor): Effect.Effect<Arr.NonEmptyReadonlyArray<ChannelEvent>> {
    return Effect.suspend(() => {
      if (this.pulled.length === 0) this.fill(cursor)
      return this.take() ?? this.awaitEvent(cursor)
    })
  }

  private fill(cursor: Cursor): void {
    this.isReady = false
    this.room = pullSize
    cursor.channel.feed(cursor, pullSize)
    this.room = 0
  }

  private take(): Effect.Effect<Arr.NonEmptyReadonlyArray<ChannelEvent>> | undefined {
    if (this.pulled.length === 0) return undefined
    const { pulled } = this
    this.pulled = []
    return Effect.succeed(pulled as unknown as Arr.NonEmptyReadonlyArray<ChannelEvent>)
  }

  /** Takes one event as soon as there is one. An interrupted fiber leaves it for the next pull. */
  private awaitEvent(cursor: Cursor): Effect.Effect<Arr.NonEmptyReadonlyArray<ChannelEvent>> {
    const wait = Effect.callback<void>((resume) => {
      // The fiber may have yielded since the cursor was fed.
      if (this.isReady) return resume(Effect.void)
      this.room = 1
      this.wake = () => {
        this.stop()
        resume(Effect.void)
      }
      return Effect.sync(() => this.stop())
    })
    return Effect.andThen(wait, this.pull(cursor))
  }

  private stop(): void {
    this.room = 0
    this.wake = undefined
  }
}
