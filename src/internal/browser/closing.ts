/** How a connection in a browser ends: the browser sends the close frames and reports what it saw in one event. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { CloseEventLike, WebSocketLike } from "../../BrowserClient.ts"
import * as CloseCode from "../../CloseCode.ts"
import { type ClosedCause, CloseTimeout, ConnectionClosed, TransportError } from "../../ConnectionError.ts"
import type { CloseFrame } from "../../Frame.ts"
import { OneShot } from "../runtime/oneShot.ts"
import type { Timer, Timers } from "../runtime/timers.ts"
import { states } from "./states.ts"

export class Closing {
  private readonly socket: WebSocketLike
  private readonly timers: Timers
  private readonly closeTimeout: Duration.Duration
  /** Called once, when it is known how the connection ended. */
  private readonly onEnded: (closed: ConnectionClosed) => void
  readonly ended = new OneShot<ConnectionClosed>()
  closed: ConnectionClosed | undefined
  private sent: CloseFrame | undefined
  private deadline: Timer | undefined

  constructor(
    socket: WebSocketLike,
    timers: Timers,
    closeTimeout: Duration.Duration,
    onEnded: (closed: ConnectionClosed) => void
  ) {
    this.socket = socket
    this.timers = timers
    this.closeTimeout = closeTimeout
    this.onEnded = onEnded
  }

  /** Closes the connection, unless it is closing, and returns how it ended. */
  closeAndAwait(frame: CloseFrame): Effect.Effect<ConnectionClosed> {
    return Effect.suspend(() => {
      this.close(frame)
      return this.ended.await
    })
  }

  private close(frame: CloseFrame): void {
    if (this.closed !== undefined || this.deadline !== undefined) return
    // If the peer has closed, the browser has replied, and ignores this end's close frame.
    if (this.socket.readyState === states.open) this.send(frame)
    this.deadline = this.timers.schedule(
      Duration.toMillis(this.closeTimeout),
      () => this.end(undefined, new CloseTimeout({ duration: this.closeTimeout }))
    )
  }

  /** Fails the connection, and waits for no reply. Returns how it ended. */
  fail(frame: CloseFrame, cause: ClosedCause): ConnectionClosed {
    if (this.closed !== undefined) return this.closed
    if (this.socket.readyState === states.open) this.send(frame)
    return this.end(undefined, cause)
  }

  /** The close event. The code is that of the peer's close frame; without one it is 1006, in Deno 0. */
  onClose({ code, reason, wasClean }: CloseEventLike, error: Error | undefined): void {
    const received = code === CloseCode.AbnormalClosure || code === 0 ? undefined : { code, reason }
    if (received !== undefined && wasClean) {
      // The browser has replied with the same code (RFC 6455 §5.5.1).
      this.end(received, undefined)
    } else {
      const lost = error ?? new Error("the connection was lost, and the browser does not report why")
      this.end(received, new TransportError({ code: undefined, cause: lost }))
    }
  }

  private send(frame: CloseFrame): void {
    this.sent = frame
    if (frame.code === CloseCode.NoStatusReceived) this.socket.close()
    else this.socket.close(frame.code, frame.reason)
  }

  private end(received: CloseFrame | undefined, cause: ClosedCause | undefined): ConnectionClosed {
    this.timers.cancel(this.deadline)
    const closedBy = this.sent !== undefined ? "local" : received !== undefined ? "remote" : undefined
    const reply = received !== undefined && cause === undefined ? { code: received.code, reason: "" } : undefined
    const closed = new ConnectionClosed({ sent: this.sent ?? reply, received, closedBy, cause })
    this.closed = closed
    this.onEnded(closed)
    this.ended.set(closed)
    return closed
  }
}
