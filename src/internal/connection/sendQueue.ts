/**
 * The order in which senders write. A data frame waits while the transport is
 * above its high-water mark, or while another message in fragments is being sent;
 * control frames pass both.
 *
 * Only the connection touches this. A frame is written whole and in one step, so
 * that an interruption never leaves half of one.
 */
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import { type ConnectionClosed, InvalidInput } from "../../ConnectionError.ts"
import type { SendOptions } from "../../Extension.ts"
import { Frame } from "../../Frame.ts"
import type { Transport } from "../../Transport.ts"
import type { Protocol } from "../protocol/connectionProtocol.ts"
import type { Timers } from "../runtime/timers.ts"
import { nextTurn } from "../runtime/turns.ts"
import type { ConnectionMetrics } from "../telemetry/metrics.ts"
import type { Extensions } from "./extensionPipeline.ts"
import { failInvalid, findDetached, frameFrom, type Sendable } from "./input.ts"
import type { EncodedFrames, SharedMessage } from "./sharedMessage.ts"
import { WriteBuffer, type WriteBufferHost, type WriteBufferOptions } from "./writeBuffer.ts"

/** For control frames, which may stand between the frames of a message. */
export const controlToken = "control"
/** For broadcasts, which write above the high-water mark too, and before the senders that wait. */
export const aboveMarkToken = "aboveMark"
/** The right to write. An object stands for a message in fragments. */
export type WriteToken = object | typeof controlToken | typeof aboveMarkToken

const noOptions: SendOptions = {}

/** The empty list of waiting senders, shared. Waiters are never pushed into it: the next list takes its place. */
const noWaiters: Array<Waiter> = []

/** Copies a frame, so that the program cannot change its payload. */
const copyFrame = ({ fin, opcode, payload, reserved }: Frame): Frame =>
  new Frame(opcode, payload.slice(), fin, reserved)

/** Writes at once. If an extension suspends, it goes on writing uninterruptibly. */
type Write = () => Effect.Effect<void, ConnectionClosed>

/** A sender that waits for its turn. */
interface Waiter {
  readonly token: WriteToken | undefined
  readonly wake: () => void
}

export interface SendQueueHost {
  readonly metrics: ConnectionMetrics
  readonly timers: Timers
  /** The transport is above its high-water mark. */
  readonly onHighWaterMark: () => void
  /** A sender waits for the transport to drain. */
  readonly onBlocked: () => void
  /** The last of the senders that waited does not wait any more. */
  readonly onNoneWaiting: () => void
  /** A program that sends or pings learns that the connection has ended. */
  readonly onObserved: () => void
}

export interface SendQueueOptions extends WriteBufferOptions {
  readonly extensions?: Extensions | undefined
}

/** The time while the transport is above its high-water mark. */
class Congestion {
  /** The number of bytes that had been written when it began. */
  readonly bytesBefore: number
  private isSampled = false
  private outlastsTurn = false

  constructor(bytesBefore: number) {
    this.bytesBefore = bytesBefore
  }

  /** Whether it has outlasted the turn of the first call: within a turn, the peer has no time to read. */
  isLasting(): boolean {
    if (!this.isSampled) {
      this.isSampled = true
      nextTurn(() => {
        this.outlastsTurn = true
      })
    }
    return this.outlastsTurn
  }
}

export class SendQueue implements WriteBufferHost {
  private readonly host: SendQueueHost
  private readonly protocol: Protocol
  private readonly extensions: Extensions | undefined
  private readonly buffer: WriteBuffer

  /** Undefined while the transport is below its high-water mark. */
  congestion: Congestion | undefined

  /** Stands for the message of several frames that is being sent. Data of other senders waits. */
  private currentMessage: object | undefined
  /** First come, first served. */
  private waiting = noWaiters
  /** What is called, one after the other, once no sender waits. */
  private writableListeners: ReadonlyArray<() => void> | undefined

  messagesOut = 0
  /** Messages that broadcasts left out because the peer reads too slowly. */
  messagesSkipped = 0

  constructor(host: SendQueueHost, transport: Transport, protocol: Protocol, options: SendQueueOptions) {
    this.host = host
    this.protocol = protocol
    this.extensions = options.extensions
    this.buffer = new WriteBuffer(this, transport, options)
  }

  get framesOut(): number {
    return this.buffer.framesOut
  }

  get bytesOut(): number {
    return this.buffer.bytesOut
  }

  /** The number of bytes that have left this process. */
  get bytesFlushed(): number {
    return this.buffer.bytesFlushed
  }

  /** The number of bytes that were written and have not left this process. */
  get bufferedAmount(): number {
    return this.buffer.bufferedAmount
  }

  /** Whether the transport is above its high-water mark: only control frames that are owed should be written. */
  get overHighWaterMark(): boolean {
    return this.congestion !== undefined
  }

  // -- turns -----------------------------------------------------------------

  /** How the connection ends, once no frame may be sent any more. */
  get closed(): ConnectionClosed | undefined {
    return this.protocol.canSend ? undefined : this.protocol.closed
  }

  /** Fails with how the connection ends, once no frame may be sent any more. */
  failClosed(): Effect.Effect<never, ConnectionClosed> {
    this.host.onObserved()
    return Effect.fail(this.protocol.closed)
  }

  /** Runs `write` when it is the turn of the sender. Fails once nothing can be sent any more. */
  send(
    write: Write,
    token?: WriteToken,
    suspends = this.extensions !== undefined
  ): Effect.Effect<void, ConnectionClosed> {
    if (suspends) return this.awaitTurn(write, token)
    return Effect.suspend(() => this.canWrite(token) ? write() : this.awaitTurn(write, token))
  }

  /** Whether frames may be written at once, without extensions. */
  canWriteImmediately(token?: WriteToken): boolean {
    return this.extensions === undefined && this.canWrite(token)
  }

  /** Whether it is the turn of this sender. */
  canWrite(token?: WriteToken): boolean {
    return this.protocol.canSend && this.isAllowed(token) && (token !== undefined || this.waiting.length === 0)
  }

  /**
   * `send` for writes that suspend, and for senders that have to wait. Waiting
   * for the turn is interruptible, the turn is not.
   */
  private awaitTurn(write: Write, token: WriteToken | undefined): Effect.Effect<void, ConnectionClosed> {
    return Effect.uninterruptibleMask((restore) => {
      if (this.canWrite(token)) return write()
      const turn: Effect.Effect<void, ConnectionClosed> = Effect.suspend(() => {
        if (!this.protocol.canSend) return this.failClosed()
        return this.isAllowed(token) ? write() : wait
      })
      const wait = Effect.andThen(restore(this.awaitCapacity(token)), turn)
      return this.protocol.canSend ? wait : turn
    })
  }

  private awaitCapacity(token: WriteToken | undefined): Effect.Effect<void> {
    return Effect.callback((resume) => {
      // The fiber may have yielded since the last check.
      if (!this.protocol.canSend || this.canWrite(token)) return resume(Effect.void)
      const waiter: Waiter = { token, wake: () => resume(Effect.void) }
      if (this.waiting === noWaiters) this.waiting = [waiter]
      else this.waiting.push(waiter)
      if (this.overHighWaterMark) this.host.onBlocked()
      return Effect.sync(() => {
        const index = this.waiting.indexOf(waiter)
        if (index >= 0) this.removeWaiting(index)
        // It was woken, and interrupted before it could write.
        else this.wakeWaiting()
      })
    })
  }

  /** Keeps the data of other senders out until `endMessage`. */
  beginMessage(message: object): void {
    this.currentMessage = message
  }

  isMessageOf(message: object): boolean {
    return this.currentMessage === message
  }

  endMessage(message: object): void {
    if (this.currentMessage !== message) return
    this.currentMessage = undefined
    this.wakeWaiting()
  }

  /** Whether a sender waits for the transport to drain or for its turn. */
  get hasWaiting(): boolean {
    return this.waiting.length > 0
  }

  private isAllowed(token: WriteToken | undefined): boolean {
    if (this.overHighWaterMark && token !== aboveMarkToken) return false
    return this.currentMessage === undefined || this.currentMessage === token || token === controlToken
  }

  /** Calls `listener` once when a sender may write again. It is not called if the connection ends before. */
  onWritable(listener: () => void): void {
    this.writableListeners = [...this.writableListeners ?? [], listener]
  }

  private wakeWaiting(): void {
    let woken = 0
    for (; this.waiting.length > 0; woken++) {
      const index = this.waiting.findIndex(({ token }) => this.isAllowed(token))
      if (index < 0) return
      this.removeWaiting(index).wake()
    }
    if (this.writableListeners === undefined) return
    // The fibers that were woken write in this turn.
    if (woken > 0) nextTurn(() => this.wakeWaiting())
    else this.callWritableListeners(this.writableListeners)
  }

  private callWritableListeners(listeners: ReadonlyArray<() => void>): void {
    this.writableListeners = undefined
    for (let i = 0; i < listeners.length; i++) {
      if (!this.canWrite()) {
        this.writableListeners = [...listeners.slice(i), ...this.writableListeners ?? []]
        return
      }
      listeners[i]()
    }
  }

  private removeWaiting(index: number): Waiter {
    const [waiter] = this.waiting.splice(index, 1)
    if (this.waiting.length === 0) {
      this.waiting = noWaiters
      this.host.onNoneWaiting()
    }
    return waiter
  }

  // -- the transport ---------------------------------------------------------

  /** A flush has filled the transport. */
  onFull(): void {
    this.congestion ??= new Congestion(this.bytesOut)
    this.host.onHighWaterMark()
    if (this.protocol.state !== "Closed") {
      this.host.metrics.outboundBackpressure.start(this, this.host.timers.now())
    }
  }

  /** The transport has drained. */
  onDrain(): void {
    this.congestion = undefined
    this.host.metrics.outboundBackpressure.stop(this, this.host.timers.now())
    this.wakeWaiting()
  }

  /** Nothing can be written any more: wakes the senders that wait, which then fail. */
  close(): void {
    this.host.metrics.outboundBackpressure.stop(this, this.host.timers.now())
    const { waiting } = this
    this.waiting = noWaiters
    if (waiting.length > 0) this.host.onObserved()
    for (const waiter of waiting) waiter.wake()
  }

  /**
   * Whether at least `limit` bytes that were written above the mark are buffered.
   * The bytes of this turn do not count, because the peer had no time to read them.
   */
  isBehind(limit: number): boolean {
    const { congestion } = this
    if (congestion === undefined || !congestion.isLasting()) return false
    return Math.min(this.bufferedAmount, this.bytesOut - congestion.bytesBefore) >= limit
  }

  // -- writing ---------------------------------------------------------------

  /** Writes a message without extensions. */
  writeMessage(message: Sendable): void {
    this.buffer.encodeMessage(message)
    this.messagesOut++
    this.buffer.scheduleFlush()
  }

  /** Writes messages without extensions, in one write. */
  writeMessages(messages: ReadonlyArray<Sendable>): void {
    for (let i = 0; i < messages.length; i++) this.buffer.encodeMessage(messages[i])
    this.messagesOut += messages.length
    this.buffer.scheduleFlush()
  }

  /** Writes messages as other connections do. Returns false if this connection must encode them for itself. */
  writeShared(shared: SharedMessage): boolean {
    const frames = this.encodingOf(shared)
    if (frames === undefined) return false
    const { length } = shared.messages
    this.buffer.appendEncoded(frames.bytes, length)
    this.messagesOut += length
    if (frames.isEncoded) this.extensions?.onShared()
    this.buffer.scheduleFlush()
    return true
  }

  private encodingOf(shared: SharedMessage): EncodedFrames | undefined {
    if (this.buffer.masks) return undefined
    if (this.extensions === undefined) return shared.withoutExtensions
    const encoder = this.extensions.shared
    return encoder && shared.encodedBy(encoder)
  }

  /** Writes a frame without extensions. */
  write(frame: Frame): void {
    this.buffer.encode(frame)
    this.buffer.scheduleFlush()
  }

  /** Passes data frames through the extensions, writes them in one write, and runs `after`. */
  writeData(
    frames: ReadonlyArray<Frame>,
    options: SendOptions | undefined,
    after: () => void = constVoid
  ): Effect.Effect<void, ConnectionClosed> {
    const detached = findDetached(frames)
    if (detached !== undefined) return failInvalid(detached)
    for (let i = 0; i < frames.length; i++) {
      const outcome = this.extensions === undefined
        ? frames[i]
        : this.extensions.encode(frames[i], options ?? noOptions)
      if (Effect.isEffect(outcome)) {
        // The frames before it are complete. The program may reuse its memory while the extension suspends.
        this.buffer.scheduleFlush()
        return this.finishEncoding(outcome, frames.slice(i + 1).map(copyFrame), options, after)
      }
      const problem = this.encodeData(outcome)
      if (problem !== undefined) return failInvalid(problem)
    }
    this.buffer.scheduleFlush()
    after()
    return Effect.void
  }

  /** Continues `writeData` while an extension suspends. It is finished, because the next message may refer to this one. */
  private finishEncoding(
    encoding: Effect.Effect<Frame>,
    rest: ReadonlyArray<Frame>,
    options: SendOptions | undefined,
    after: () => void
  ): Effect.Effect<void, ConnectionClosed> {
    return Effect.uninterruptible(this.writeBehind(encoding, (frame) => {
      const problem = this.encodeData(frame)
      return problem === undefined ? this.writeData(rest, options, after) : failInvalid(problem)
    }))
  }

  /**
   * Reserves the turn, and writes when `ready` has succeeded. Until then it is
   * interruptible, and nothing was written.
   */
  writeAfter(ready: Effect.Effect<void>, write: Write): Effect.Effect<void, ConnectionClosed> {
    return this.writeBehind(Effect.interruptible(ready), write)
  }

  /** Keeps the data of other senders out until `work` is done and `write` has written its result. */
  private writeBehind<A>(
    work: Effect.Effect<A>,
    write: (result: A) => Effect.Effect<void, ConnectionClosed>
  ): Effect.Effect<void, ConnectionClosed> {
    const message = this.currentMessage ?? work
    this.beginMessage(message)
    return Effect.ensuring(
      Effect.flatMap(work, (result) => this.protocol.canSend ? write(result) : this.failClosed()),
      Effect.sync(() => {
        if (message === work) this.endMessage(message)
      })
    )
  }

  /** What an extension returns is checked like what a program sends. */
  private encodeData(encoded: Frame): InvalidInput | undefined {
    const frame = this.extensions === undefined ? encoded : frameFrom(encoded)
    if (frame instanceof InvalidInput) return frame
    this.buffer.encode(frame)
    if (frame.fin) this.messagesOut++
    return undefined
  }

  /** Collects what is written until `uncork`. */
  cork(): void {
    this.buffer.cork()
  }

  uncork(): void {
    this.buffer.uncork()
  }

  /** Hands all that was written to the transport. */
  flush(): void {
    this.buffer.flush()
  }
}
