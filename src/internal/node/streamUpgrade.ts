/** An upgrade request over a stream of Node: what the HTTP versions have in common. */
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import type { Duplex } from "node:stream"
import type * as Handshake from "../../Handshake.ts"
import type { Transport } from "../../Transport.ts"
import { emptyBytes } from "../runtime/buffers.ts"
import * as builtins from "../runtime/builtins.ts"
import type { Timers } from "../runtime/timers.ts"
import type { RequestHead, Upgrade } from "../server/upgrade.ts"
import { readEarly } from "./upgradeSocket.ts"

export abstract class StreamUpgrade<S extends Duplex = Duplex> implements Upgrade {
  readonly head: RequestHead
  readonly stream: S
  /** Bytes that the client sent before it had the response. */
  private early: Uint8Array

  constructor(head: RequestHead, stream: S, early: Uint8Array) {
    this.head = head
    this.stream = stream
    this.early = early
    // The stream may fail at any time.
    stream.on("error", constVoid)
  }

  abstract accept(request: Handshake.Request, response: Handshake.HttpResponse): Transport

  abstract reject(response: Handshake.HttpResponse, timers: Timers, timeout: number): void

  abstract rejectUnavailable(timers: Timers, timeout: number): void

  get hasClientLeft(): boolean {
    return this.stream.destroyed || this.stream.readableEnded
  }

  watchClient(onLeft: () => void): () => void {
    const { stream } = this
    stream.once("close", onLeft)
    const stopReading = readEarly(stream)
    return () => {
      stream.off("close", onLeft)
      const read = stopReading()
      if (read.length > 0) this.early = builtins.buffer().Buffer.concat([this.early, read])
    }
  }

  /** Returns the bytes that the client sent before the response, for the transport. */
  protected takeEarly(): Uint8Array {
    const { early } = this
    this.early = emptyBytes
    return early
  }

  abandon(_timers: Timers, _timeout: number): void {
    this.destroy()
  }

  onClose(callback: () => void): void {
    if (this.stream.destroyed) callback()
    else this.stream.once("close", callback)
  }

  get flushed(): Effect.Effect<void> {
    return Effect.callback((resume) => {
      const stop = builtins.stream().finished(this.stream, { readable: false }, () => resume(Effect.void))
      return Effect.sync(stop)
    })
  }

  destroy(): void {
    this.stream.destroy()
  }
}
