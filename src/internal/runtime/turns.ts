/**
 * Runs steps later, in this turn of the event loop or in the next one. Fake
 * timers of test runners do not delay them: the functions are read when the
 * module is loaded, and promises are not faked. Otherwise a connection that
 * waits for its turn would wait until the test advances the time.
 */
export { nextTurn } from "#platform"

const resolved = Promise.resolve()

/** Runs `step` as a microtask, at the end of this turn. */
export const soon = (step: () => void): void => void resolved.then(step)
