/**
 * The runtime's own ways to run something in a later turn. They are taken when
 * the module is loaded, and `soon` uses a promise, which fake timers leave
 * alone: fakes do not run anything until a test advances them, and a connection
 * that waits for its turn would wait with them.
 */
import { setImmediate } from "node:timers"

const resolved = Promise.resolve()

/** Runs `step` as a microtask, at the end of this turn. */
export const soon = (step: () => void): void => void resolved.then(step)

/** Runs `step` in the next turn of the event loop, when what has arrived meanwhile was read. */
export const nextTurn: (step: () => void) => void = setImmediate
