/**
 * Verdicts about a peer that does nothing. A deadline alone would also condemn
 * peers that did all they should while this process was busy: their bytes are
 * in the kernel, and nobody has read them. So a watch looks several times, each
 * time after the event loop had its turn, and reads once more before it judges.
 */
import type { Timer, Timers } from "./timers.ts"
import { nextTurn } from "./turns.ts"

/** How often a watch looks. However long this process was blocked meanwhile, that counts as one look. */
const looks = 4

export interface Watching {
  /** Whether nothing has happened yet. */
  readonly quiet: () => boolean
  /** Nothing has happened, all the time. */
  readonly condemn: () => void
  /** Something has happened. Found out when it is looked at, not before. */
  readonly acquit: () => void
}

/** Watches for `millis` at least, and a quarter more at most. Answers how to stop. */
export const watch = (timers: Timers, millis: number, { acquit, condemn, quiet }: Watching): () => void => {
  let timer: Timer | undefined
  let stopped = false
  let left = looks
  const judge = () => {
    if (stopped) return
    if (quiet()) condemn()
    else acquit()
  }
  const look = () => {
    if (!quiet()) acquit()
    else if (--left > 0) timer = timers.schedule(millis / looks, look)
    // What has come by now is read in the turn of the event loop that begins after this.
    else nextTurn(judge)
  }
  timer = timers.schedule(millis / looks, look)
  return () => {
    stopped = true
    timers.cancel(timer)
  }
}
