/**
 * How a connection is closed (RFC 6455 §7). Closing begins with a close frame of
 * either end, or when the connection is cut off. From then on it has a deadline,
 * and goes on until the transport is closed, even if no program waits for it.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as CloseCode from "../../CloseCode.ts"
import { type ClosedCause, CloseTimeout, ConnectionClosed, Terminated, UnexpectedEof } from "../../ConnectionError.ts"
import { close as closeFrame, type CloseFrame } from "../../Frame.ts"
import type { Transport } from "../../Transport.ts"
import type { Protocol } from "../protocol/connectionProtocol.ts"
import { OneShot } from "../runtime/oneShot.ts"
import type { Timer, Timers } from "../runtime/timers.ts"
import { nextTurn } from "../runtime/turns.ts"
import type { SendQueue } from "./sendQueue.ts"

export const defaultCloseTimeout = Duration.seconds(10)

/** The depth to which the causes of an error are followed. They may form a circle. */
const maxCauses = 8

/** The rest of the connection. */
export interface ClosingHost {
  readonly protocol: Protocol
  readonly sendQueue: SendQueue
  readonly transport: Transport
  readonly timers: Timers
  /** Closing has begun: stops pings and timeouts, and reads on up to the peer's close frame. It may be called again. */
  readonly onClosing: () => void
  /** It is known how the connection ended: fails what waits for more. */
  readonly failWaiting: (closed: ConnectionClosed) => void
  /** Called once, after `failWaiting` and the end of the transport. */
  readonly onEnded: (() => void) | undefined
}

/** Whether this end has yet to reply to the peer's close frame (`autoClose: false`). */
export const isUnanswered = ({ cause, received, sent }: ConnectionClosed): boolean =>
  received !== undefined && sent === undefined && cause === undefined

export class Closing {
  private readonly host: ClosingHost
  private readonly closeTimeout: Duration.Duration
  private endedOnce: OneShot<ConnectionClosed> | undefined
  private transportClosedOnce: OneShot<ConnectionClosed> | undefined
  private deadline: Timer | undefined
  /** The reply to the peer's close frame, while it waits for senders. */
  private pendingReply: CloseFrame | undefined
  private receivedEof = false
  private isSettled = false

  constructor(host: ClosingHost, closeTimeout: Duration.Input = defaultCloseTimeout) {
    this.host = host
    this.closeTimeout = Duration.fromInputUnsafe(closeTimeout)
  }

  // -- this end closes -------------------------------------------------------

  /** Sends a close frame, unless one was sent. With a cause, the connection fails, and no reply is awaited. */
  close(frame: CloseFrame, cause?: ClosedCause): void {
    const { protocol, sendQueue } = this.host
    if (!protocol.canSend) return
    protocol.close(frame, cause)
    sendQueue.write(closeFrame(frame.code, frame.reason))
    this.begin()
  }

  /** Fails the connection (§7.1.7). The close frame names the cause. */
  fail(code: number, cause: ClosedCause): void {
    this.close({ code, reason: cause._tag }, cause)
  }

  /** Fails the connection, and closes the transport without waiting for the peer. */
  cutOff(code: number, cause: ClosedCause): void {
    this.fail(code, cause)
    this.host.transport.destroy()
  }

  /** Ends the connection without a close frame. */
  abort(cause: ClosedCause): void {
    this.host.protocol.cut(cause)
    this.begin()
  }

  /** Closes the connection, and returns how it ended once the transport is closed. */
  closeAndAwait(frame: CloseFrame): Effect.Effect<ConnectionClosed> {
    return Effect.suspend(() => {
      this.close(frame)
      return this.transportClosed.await
    })
  }

  /** Ends the connection without a close frame, and closes the transport at once. */
  get terminate(): Effect.Effect<ConnectionClosed> {
    return Effect.suspend(() => {
      this.abort(new Terminated())
      this.host.transport.destroy()
      return this.transportClosed.await
    })
  }

  /** Closes the connection because its Scope is closed. */
  closeOnExit(exit: Exit.Exit<unknown, unknown>): Effect.Effect<ConnectionClosed> {
    const code = Exit.isSuccess(exit)
      ? CloseCode.NormalClosure
      : Cause.hasInterruptsOnly(exit.cause)
      ? CloseCode.GoingAway
      : CloseCode.InternalError
    return this.closeAndAwait({ code, reason: "" })
  }

  // -- the peer closes -------------------------------------------------------

  /**
   * Replies to the peer's close frame. "An endpoint MAY delay sending a Close frame until its current message is sent"
   * (§5.5.1): senders that waited when the peer's close frame arrived write before the reply.
   */
  reply(frame: CloseFrame): void {
    const { protocol, sendQueue } = this.host
    if (!sendQueue.hasWaiting || protocol.state !== "Closing") return this.close(frame)
    this.pendingReply = frame
    this.begin()
  }

  /** A sender that was woken may write more in this turn. The reply goes behind that. */
  onNoneWaiting(): void {
    if (this.pendingReply !== undefined) nextTurn(() => this.host.sendQueue.hasWaiting || this.replyNow())
  }

  private replyNow(): void {
    if (this.pendingReply !== undefined) this.close(this.pendingReply)
    this.pendingReply = undefined
  }

  /** The peer has ended its side of the transport. */
  onEof(): void {
    this.receivedEof = true
    this.replyNow()
    if (this.closed === undefined) this.abort(new UnexpectedEof())
    this.host.transport.end()
  }

  /** The transport is closed. The connection sets `transportClosed` after it has released what it holds. */
  onTransportClosed(cause: ClosedCause | undefined): ConnectionClosed {
    this.replyNow()
    if (this.closed === undefined) this.abort(cause ?? new UnexpectedEof())
    this.host.timers.cancel(this.deadline)
    return this.host.protocol.closed
  }

  // -- from the first close frame to the end ---------------------------------

  /** Begins closing, or goes on with it. */
  begin(): void {
    this.deadline ??= this.host.timers.schedule(Duration.toMillis(this.closeTimeout), () => {
      this.host.protocol.cut(new CloseTimeout({ duration: this.closeTimeout }))
      this.settle()
      this.host.transport.destroy()
    })
    this.host.onClosing()
    if (this.host.protocol.state === "Closed") this.settle()
  }

  /** Fails all fibers that wait, and ends the transport: over TCP the server first (§7.1.1). */
  private settle(): void {
    if (this.isSettled) return
    this.isSettled = true
    const { protocol, sendQueue, transport } = this.host
    const { closed } = protocol
    this.host.failWaiting(closed)
    this.ended.set(closed)
    // What was written in this turn, such as the close frame, goes before the end.
    sendQueue.flush()
    const endsFirst = protocol.role === "server" || transport.isMultiplexed === true
    if (endsFirst || closed.cause !== undefined || this.receivedEof) transport.end()
    this.host.onEnded?.()
  }

  // -- the result ------------------------------------------------------------

  /** Set when it is known how the connection ended. */
  get ended(): OneShot<ConnectionClosed> {
    return this.endedOnce ??= new OneShot()
  }

  /** Set when the transport is closed. */
  get transportClosed(): OneShot<ConnectionClosed> {
    return this.transportClosedOnce ??= new OneShot()
  }

  /** How the connection ended, once that is known. */
  get closed(): ConnectionClosed | undefined {
    return this.host.protocol.state === "Closed" ? this.host.protocol.closed : undefined
  }

  /** The code that the connection ends with; undefined while it is open. */
  get code(): number | undefined {
    return this.closed?.code ?? this.host.protocol.closed.sent?.code
  }

  /** Whether a program has asked for, or has learned, how the connection ended. */
  get isObserved(): boolean {
    return this.endedOnce?.isObserved === true || this.transportClosedOnce?.isObserved === true
  }

  /** Whether `error`, or one of its causes, is the closure of this connection, so that it need not be logged as a failure. */
  isExpectedEnd(error: unknown, depth = 0): boolean {
    const { closed } = this.host.protocol
    if (error === closed) return true
    if (error instanceof ConnectionClosed) {
      const frame = error.sent ?? error.received
      return frame !== undefined && (frame === closed.sent || frame === closed.received)
    }
    return error instanceof Error && depth < maxCauses && this.isExpectedEnd(error.cause, depth + 1)
  }
}
