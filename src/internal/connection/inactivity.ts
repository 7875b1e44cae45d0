/**
 * Verdicts about a peer that does nothing. A deadline alone would also condemn
 * peers that did all they should while this process was busy: their bytes are
 * in the kernel, and nobody has read them. So a watch looks several times, each
 * time after the event loop had its turn, and reads once more before it judges.
 */
import type { Timer, Timers } from "../runtime/timers.ts"
import { nextTurn } from "../runtime/turns.ts"

/** How often a watch looks. However long this process was blocked meanwhile, that counts as one look. */
const samples = 4

export interface InactivityCallbacks {
  /** Whether nothing has happened yet. */
  readonly isInactive: () => boolean
  /** Nothing has happened, all the time. */
  readonly onTimeout: () => void
  /** Something has happened. Found out when it is looked at, not before. */
  readonly onActivity: () => void
}

/** Watches for `millis` at least, and a quarter more at most. Answers how to stop. */
export const watchInactivity = (
  timers: Timers,
  millis: number,
  { onActivity, onTimeout, isInactive }: InactivityCallbacks
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
    // What has come by now is read in the turn of the event loop that begins after this.
    else nextTurn(finalCheck)
  }
  timer = timers.schedule(millis / samples, sample)
  return () => {
    stopped = true
    timers.cancel(timer)
  }
}
