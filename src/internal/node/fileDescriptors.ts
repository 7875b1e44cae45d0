/**
 * Logs when the process runs out of file descriptors, because Node then drops new
 * connections silently. After a connection, and until it succeeds, a probe opens a
 * file every second.
 */
import * as Effect from "effect/Effect"
import { fs, os } from "../runtime/builtins.ts"
import type { Timer, Timers } from "../runtime/timers.ts"

/** In milliseconds. */
const interval = 1000

/** Returns the error if no file can be opened. */
const probeDescriptor = (): Error | undefined => {
  try {
    fs().closeSync(fs().openSync(os().devNull, "r"))
    return undefined
  } catch (error) {
    return error as Error
  }
}

export class FileDescriptors {
  private readonly timers: Timers
  private readonly run: (log: Effect.Effect<void>) => void
  private readonly probe: () => Error | undefined
  private timer: Timer | undefined
  private exhausted = false

  constructor(timers: Timers, run: (log: Effect.Effect<void>) => void, probe = probeDescriptor) {
    this.timers = timers
    this.run = run
    this.probe = probe
  }

  /** Schedules a check: this connection may have used the last descriptor. */
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
        ? Effect.logInfo("the WebSocket server accepts connections again")
        : Effect.logError("the WebSocket server drops new connections: no file descriptor is left", error)
    )
  }
}
