/**
 * Whether the process has file descriptors left. When it has none, Node drops
 * new connections without a word; so, while connections come, one is tried for
 * now and then, and again until there is one.
 */
import * as Effect from "effect/Effect"
import { closeSync, openSync } from "node:fs"
import { devNull } from "node:os"
import type { Timer, Timers } from "../runtime/timers.ts"

/** How often, in milliseconds. */
const interval = 1000

const probeDescriptor = (): Error | undefined => {
  try {
    closeSync(openSync(devNull, "r"))
    return undefined
  } catch (error) {
    return error as Error
  }
}

export class FileDescriptors {
  private readonly timers: Timers
  private readonly run: (log: Effect.Effect<void>) => void
  /** Why there is none, if there is none. */
  private readonly probe: () => Error | undefined
  private timer: Timer | undefined
  private exhausted = false

  constructor(timers: Timers, run: (log: Effect.Effect<void>) => void, probe = probeDescriptor) {
    this.probe = probe
    this.timers = timers
    this.run = run
  }

  /** A connection has come, maybe the last that could. */
  onConnection(): void {
    this.timer ??= this.timers.schedule(interval, () => this.check())
  }

  stop(): void {
    this.timers.cancel(this.timer)
  }

  private check(): void {
    this.timer = undefined
    const error = this.probe()
    if (error !== undefined) this.onConnection()
    if (this.exhausted === (error !== undefined)) return
    this.exhausted = error !== undefined
    this.run(
      error === undefined
        ? Effect.logInfo("the WebSocket server can take connections again")
        : Effect.logError("the WebSocket server cannot take connections, which are dropped", error)
    )
  }
}
