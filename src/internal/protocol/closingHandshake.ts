/** How a connection ends (RFC 6455 §7.1): the close frames in both directions, their order, and the cause of a failure. */
import { type ClosedCause, ConnectionClosed } from "../../ConnectionError.ts"
import type { CloseFrame } from "../../Frame.ts"

/**
 * The states of RFC 6455: open until a close frame is sent or received (§7.1.3),
 * closed once both are, or once the connection failed or was cut (§7.1.4).
 */
export type State = "Open" | "Closing" | "Closed"

export class ClosingHandshake {
  /** The close frame that was sent. */
  sent: CloseFrame | undefined
  /** The close frame that was received. */
  received: CloseFrame | undefined
  /** The end that sent the first close frame. */
  private closedBy: "local" | "remote" | undefined
  private cause: ClosedCause | undefined
  private end: ConnectionClosed | undefined

  get state(): State {
    if (this.end !== undefined) return "Closed"
    return this.closedBy === undefined ? "Open" : "Closing"
  }

  /** How the connection ends if nothing else happens. Always the same value once the state is Closed. */
  get closed(): ConnectionClosed {
    return this.end ??
      new ConnectionClosed({ sent: this.sent, received: this.received, closedBy: this.closedBy, cause: this.cause })
  }

  send(frame: CloseFrame, cause: ClosedCause | undefined): void {
    this.sent ??= frame
    this.closedBy ??= "local"
    this.cause ??= cause
    this.settle()
  }

  receive(frame: CloseFrame): void {
    this.received = frame
    this.closedBy ??= "remote"
    this.settle()
  }

  /** The connection fails, although its close frame is still unsent. */
  fail(cause: ClosedCause): void {
    this.cause ??= cause
  }

  /** The transport is closed, or will be. Returns false if the end was known before. */
  cut(cause: ClosedCause): boolean {
    if (this.end !== undefined) return false
    this.cause ??= cause
    this.end = this.closed
    return true
  }

  /** The end is known once both close frames are, or once there is a cause and this end has sent its close frame. */
  private settle(): void {
    if (this.end !== undefined || this.sent === undefined) return
    if (this.received !== undefined || this.cause !== undefined) this.end = this.closed
  }
}
