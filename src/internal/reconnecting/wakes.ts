/**
 * Turns the signals of a `Wake` into attempts: ends the waits of a reconnecting client, but not too often, and pauses it
 * while its page is hidden.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type { Options } from "../../Reconnecting.ts"
import type { Signal } from "../../Wake.ts"

/** The shortest time between two attempts that signals cause, in milliseconds. */
export const wakeInterval = 5000

const isWaking = (signal: Signal): boolean => signal !== "offline" && signal !== "hidden"

/** How long a page must be hidden for, in milliseconds, until something stops. */
interface HiddenLimits {
  readonly attempts: number
  readonly connection: number
}

const hiddenLimitsOf = (whileHidden: Options["whileHidden"] = "keep"): HiddenLimits => {
  if (whileHidden === "keep") return { attempts: Number.POSITIVE_INFINITY, connection: Number.POSITIVE_INFINITY }
  if (whileHidden === "pause") return { attempts: 0, connection: Number.POSITIVE_INFINITY }
  const limit = Duration.toMillis(whileHidden.closeAfter)
  return { attempts: limit, connection: limit }
}

export class Wakes {
  /** In milliseconds of a clock that does not jump. */
  private readonly now: () => number
  private readonly limits: HiddenLimits
  /** Open if a signal has arrived that no attempt has followed yet. */
  private readonly woken = Latch.makeUnsafe(false)
  /** Open while the page is visible. */
  private readonly visible = Latch.makeUnsafe(true)
  /** Open while the page is hidden. */
  private readonly hidden = Latch.makeUnsafe(false)
  private hiddenSince: number | undefined
  private isConnected = false
  /** When a signal has last caused an attempt. */
  private lastUsed = Number.NEGATIVE_INFINITY

  constructor(now: () => number, whileHidden: Options["whileHidden"]) {
    this.now = now
    this.limits = hiddenLimitsOf(whileHidden)
  }

  /** Records a signal. Returns whether it wakes the client. */
  onSignal(signal: Signal): boolean {
    if (signal === "hidden") {
      this.hiddenSince ??= this.now()
      this.visible.closeUnsafe()
      this.hidden.openUnsafe()
    }
    if (!isWaking(signal)) return false
    const isVisible = signal === "visible" || signal === "restored"
    if (isVisible) this.hiddenSince = undefined
    if (!this.isConnected) this.woken.openUnsafe()
    if (isVisible) {
      this.hidden.closeUnsafe()
      // The last step, because it may lead to an attempt, which uses up the signal.
      this.visible.openUnsafe()
    }
    return true
  }

  /** The client is connected: forgets signals, and ignores them until the connection is lost. */
  onOpen(): void {
    this.isConnected = true
    this.woken.closeUnsafe()
  }

  onLost(): void {
    this.isConnected = false
  }

  /**
   * Sleeps until a time, or until a signal ends the wait, which it does not before `earliest`. Returns whether a signal did.
   * Times are in milliseconds of the clock.
   */
  sleepUntil(time: number, earliest: number): Effect.Effect<boolean> {
    return Effect.raceFirst(
      Effect.as(this.sleepTo(time), false),
      Effect.as(Effect.andThen(this.woken.await, this.untilUsable(earliest)), true)
    ).pipe(Effect.tap((woken) => Effect.sync(() => this.use(woken))))
  }

  /** Whether no attempts are made, because the page has been hidden for long enough. */
  get isPaused(): boolean {
    return this.hiddenSince !== undefined && this.now() - this.hiddenSince >= this.limits.attempts
  }

  /** Waits until the page is visible, and until an attempt may follow. */
  awaitVisible(earliest: number): Effect.Effect<void> {
    return Effect.andThen(
      Effect.andThen(this.visible.await, this.untilUsable(earliest)),
      Effect.sync(() => this.use(true))
    )
  }

  /** Whether the connection is closed if the page is hidden for long. */
  get closesWhileHidden(): boolean {
    return this.limits.connection !== Number.POSITIVE_INFINITY
  }

  /** Waits until the page has been hidden for so long that the connection is to be closed. */
  readonly hiddenTooLong: Effect.Effect<void> = Effect.suspend(() => {
    if (this.hiddenSince === undefined) return Effect.andThen(this.hidden.await, this.hiddenTooLong)
    return Effect.flatMap(
      Effect.raceFirst(
        Effect.as(this.sleepTo(this.hiddenSince + this.limits.connection), true),
        Effect.as(this.visible.await, false)
      ),
      (tooLong) => tooLong ? Effect.void : this.hiddenTooLong
    )
  })

  /** Waits until signals may cause an attempt again. */
  private untilUsable(earliest: number): Effect.Effect<void> {
    return Effect.suspend(() => this.sleepTo(Math.max(earliest, this.lastUsed + wakeInterval)))
  }

  private use(caused: boolean): void {
    if (caused) this.lastUsed = this.now()
    this.woken.closeUnsafe()
  }

  private sleepTo(time: number): Effect.Effect<void> {
    return Effect.suspend(() => Effect.sleep(Math.max(0, time - this.now())))
  }
}
