/**
 * Timeouts for peers that do nothing. A plain deadline would also time out peers
 * with data that is still unread because the event loop was blocked. So a watch
 * takes several samples, each in a turn of its own, and reads once more before it
 * calls `onTimeout`.
 */
import type { Timer, Timers } from "../runtime/timers.ts"
import { nextTurn } from "../runtime/turns.ts"

/** The number of samples. However long the event loop is blocked between two of them, that counts as one. */
const samples = 4

export interface InactivityCallbacks {
  /** Whether nothing has happened since the watch began. */
  readonly isInactive: () => boolean
  /** Called when `isInactive` held in all samples. */
  readonly onTimeout: () => void
  /** Called by the first sample that finds activity, not when it happens. */
  readonly onActivity: () => void
}

/** Watches for `millis`, or up to a quarter longer. Returns a function that stops the watch. */
export const watchInactivity = (
  timers: Timers,
  millis: number,
  { isInactive, onActivity, onTimeout }: InactivityCallbacks
): () => void => {
  let timer: Timer | undefined
  let stopped = false
  let remaining = samples
  const finalCheck = () => {
    if (stopped) return
    if (isInactive()) onTimeout()
    else onActivity()
  }
  const sample = () => {
    if (!isInactive()) onActivity()
    else if (--remaining > 0) timer = timers.schedule(millis / samples, sample)
    // The next turn of the event loop reads what has arrived by now.
    else nextTurn(finalCheck)
  }
  timer = timers.schedule(millis / samples, sample)
  return () => {
    stopped = true
    timers.cancel(timer)
  }
}
