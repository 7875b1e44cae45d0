/**
 * A connection at work: bytes from the transport go through the protocol into
 * the inbox, frames go through the outbox to the transport, and all of it is
 * closed in order.
 *
 * The transport's callbacks and the program's effects meet here, on one thread,
 * and each step is taken whole. Time is told by `Timers`: the keepalive, and the
 * deadline once closing has begun.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Tracer from "effect/Tracer"
import { Buffer } from "node:buffer"
import * as CloseCode from "../../CloseCode.ts"
import type * as Connection from "../../Connection.ts"
import {
  type ClosedCause,
  CloseReasonTooLong,
  CloseTimeout,
  ConnectionClosed,
  ControlPayloadTooLong,
  IdleTimeout,
  InvalidFrame,
  InvalidInput,
  type InvalidMessage,
  type KeepaliveTimeout,
  MessageAborted,
  SlowConsumer,
  type TransportError,
  UnexpectedEof,
  UnexpectedFragment,
  WriteTimeout
} from "../../ConnectionError.ts"
import type { HeaderEntry, SendOptions } from "../../Extension.ts"
import * as Frame from "../../Frame.ts"
import type * as Handshake from "../../Handshake.ts"
import type * as Message from "../../Message.ts"
import * as ProtocolError from "../../ProtocolError.ts"
import type { Receiver, Transport } from "../../Transport.ts"
import { type Extensions, start as startExtensions } from "./extensionPipeline.ts"
import { type BroadcastTarget, broadcastTarget, stopReceiving } from "./hooks.ts"
import { decodeFragments, forEachFragment, FragmentEncoder } from "./fragments.ts"
import { failedWith, ReceiveQueue } from "./receiveQueue.ts"
import {
  closeProblemOf,
  failInvalid,
  findDetached,
  frameFrom,
  type Sendable,
  sendableOf,
  sendablesOf,
  toFrame
} from "./input.ts"
import { ConnectionMetrics, type MetricSource, type Totals } from "../telemetry/metrics.ts"
import { checkConnection } from "./options.ts"
import { type beyondMark, controlToken, SendQueue, type SendQueueHost } from "./sendQueue.ts"
import { type KeepaliveTarget, Pings } from "./pings.ts"
import { Protocol } from "../protocol/connectionProtocol.ts"
import { type Timer, Timers } from "../runtime/timers.ts"
import { nextTurn } from "../runtime/turns.ts"
import { startSpan } from "../telemetry/tracing.ts"
import { watchInactivity } from "./inactivity.ts"

const defaultHighWaterMark = 64 * 1024
const defaultMaxUnansweredPings = 100
export const defaultCloseTimeout = Duration.seconds(10)
const defaultKeepalive = Duration.seconds(20)
const defaultSlowConsumerTimeout = Duration.seconds(10)
const defaultWriteTimeout = Duration.seconds(30)
/** How far the causes of an error are followed. They may form a circle. */
const maxCauses = 8

/** Whether the beginning of the same frame was delivered before. */
const continuesFrame = (frame: Frame.Frame): boolean => frame instanceof Frame.Piece && frame.offset > 0

/** What a connection that began without a handshake says of it. */
const noOpening: Connection.HandshakeInfo = {
  request: {
    path: "/",
    query: new URLSearchParams(),
    host: "",
    origin: undefined,
    key: "",
    protocols: [],
    extensions: [],
    headers: {},
    rawHeaders: [],
    secure: false,
    remoteAddress: undefined
  },
  responseHeaders: {},
  rawResponseHeaders: [],
  subprotocol: undefined
}

const noExtensions: ReadonlyArray<HeaderEntry> = []

/** What was agreed on in the opening handshake: it differs from connection to connection, other options do not. */
type Agreement = Pick<Connection.MakeOptions, "handshake" | "negotiated">

/** A value that comes once. Whoever waits for it costs something, nobody does not. */
class OneShot<A> {
  private value: A | undefined
  private deferred: Deferred.Deferred<A> | undefined
  /** Whether it was waited for, before it came or after. */
  isAwaited = false

  done(value: A): void {
    this.value = value
    if (this.deferred !== undefined) Deferred.doneUnsafe(this.deferred, Exit.succeed(value))
  }

  get await(): Effect.Effect<A> {
    return Effect.suspend(() => {
      this.isAwaited = true
      if (this.value !== undefined) return Effect.succeed(this.value)
      this.deferred ??= Deferred.makeUnsafe()
      return Deferred.await(this.deferred)
    })
  }
}

export class ConnectionImpl
  implements Connection.Connection, BroadcastTarget, Receiver, KeepaliveTarget, SendQueueHost, MetricSource
{
  readonly role: Frame.Role
  readonly extensions: ReadonlyArray<HeaderEntry>
  private readonly opening: Connection.HandshakeInfo
  private readonly transport: Transport
  private readonly protocol: Protocol
  private readonly inbox: ReceiveQueue
  readonly outbox: SendQueue
  private readonly pings: Pings
  readonly timers: Timers
  readonly meter: ConnectionMetrics
  private readonly closeTimeout: Duration.Duration
  private readonly writeTimeout: Duration.Input
  private readonly slowConsumer: Connection.Options["slowConsumer"]
  private readonly slowConsumerTimeout: Duration.Input

  /** It is known how the connection ended. */
  private readonly end = new OneShot<ConnectionClosed>()
  /** The transport is gone. */
  private readonly transportClosed = new OneShot<ConnectionClosed>()
  private readonly onOver: (() => void) | undefined
  private deadline: Timer | undefined
  /** Stops watching whether the peer takes what waits for it. */
  private stopWriteWatch: (() => void) | undefined
  /** Stops watching whether there is room again for a `send` that waits. */
  private stopSlowWatch: (() => void) | undefined
  /** Stops watching whether anything is sent or received. */
  private stopIdleWatch: (() => void) | undefined
  /** The reply to the peer's close frame, while it waits for senders. */
  private owedClose: Frame.CloseFrame | undefined
  private discardingInbound = false
  private receivedEof = false
  private finished = false
  private told = false
  /** Programs ask for it again and again. */
  private receiveEffect: Connection.Connection["receive"] | undefined
  paused = false
  bytesIn = 0
  previous: MetricSource | undefined = undefined
  next: MetricSource | undefined = undefined
  /** The span of the connection, where there are spans. */
  span: Tracer.Span | undefined = undefined

  constructor(
    transport: Transport,
    options: Connection.MakeOptions,
    { negotiated, handshake = noOpening }: Agreement,
    codec: Frame.FrameCodec,
    timers: Timers,
    meter: ConnectionMetrics,
    extensions: Extensions | undefined,
    onOver: (() => void) | undefined
  ) {
    const { role } = options
    this.role = role
    this.extensions = negotiated?.map(({ entry }) => entry) ?? noExtensions
    this.opening = handshake
    this.transport = transport
    this.timers = timers
    this.meter = meter
    this.onOver = onOver
    this.closeTimeout = Duration.fromInputUnsafe(options.closeTimeout ?? defaultCloseTimeout)
    this.writeTimeout = options.writeTimeout ?? defaultWriteTimeout
    this.slowConsumer = options.slowConsumer
    this.slowConsumerTimeout = options.slowConsumerTimeout ?? defaultSlowConsumerTimeout
    this.protocol = new Protocol(role, codec, options, extensions)
    this.outbox = new SendQueue(this, transport, this.protocol, {
      coalesce: options.coalesceWrites ?? true,
      maskKey: role === "client" ? codec.maskKey : undefined,
      extensions
    })
    this.inbox = new ReceiveQueue(options.inboundHighWaterMark ?? defaultHighWaterMark, this, extensions)
    this.pings = new Pings(this.outbox, options.maxUnansweredPings ?? defaultMaxUnansweredPings)
  }

  get request(): Handshake.Request {
    return this.opening.request
  }

  get responseHeaders(): Handshake.Headers {
    return this.opening.responseHeaders
  }

  get rawResponseHeaders(): Handshake.RawHeaders {
    return this.opening.rawResponseHeaders
  }

  get subprotocol(): string | undefined {
    return this.opening.subprotocol
  }

  start({ idleTimeout, keepalive }: Connection.Options): void {
    this.meter.opened(this, this.timers)
    this.transport.start(this)
    if (idleTimeout !== undefined) this.watchIdle(Duration.fromInputUnsafe(idleTimeout))
    if (keepalive === false) return
    const interval = Duration.toMillis(keepalive?.interval ?? defaultKeepalive)
    const timeout = Duration.toMillis(keepalive?.timeout ?? defaultKeepalive)
    this.pings.keepalive(interval, timeout, this)
  }

  // ---------------------------------------------------------------------------
  // What the transport and the rooms around tell
  // ---------------------------------------------------------------------------

  onData(chunk: Uint8Array): void {
    this.bytesIn += chunk.length
    // What this read makes anyone send leaves in one write.
    this.outbox.cork()
    const { pongPayloads, close, deliver, pongs } = this.protocol.receive(chunk)
    if (pongPayloads !== undefined) { for (const payload of pongPayloads) this.pings.onPong(payload) }
    // Pongs first: a ping within a fragmented message is answered before the message is (§5.4).
    if (pongs !== undefined && this.protocol.canSend) { for (const pong of pongs) this.pings.pong(pong) }
    // After this end has sent its close frame, a full queue takes the rest of the frame that it has begun, and nothing
    // more: the connection has to read on, up to the peer's close frame.
    if (deliver.length > 0) {
      this.discardingInbound ||= this.inbox.full && !this.protocol.canSend && !continuesFrame(deliver[0])
      if (!this.discardingInbound) this.inbox.push(deliver)
    }
    if (close !== undefined) this.reply(close)
    else if (this.protocol.state !== "Open") {
      this.beginClosing()
      // Without a reply of this end's, the end is not known yet. But nothing follows the peer's close frame (§5.5.1).
      if (this.protocol.repliesLater) this[stopReceiving]()
    }
    this.outbox.uncork()
    if (this.inbox.full && this.protocol.state === "Open" && !this.paused) {
      this.paused = true
      this.meter.inboundBackpressure.start(this, this.timers.now())
      this.transport.pause()
    }
  }

  /** The inbox has room again, or what is in it does not matter any more. */
  resume(): void {
    if (!this.paused) return
    this.paused = false
    this.meter.inboundBackpressure.stop(this, this.timers.now())
    this.transport.resume()
  }

  onDrain(): void {
    this.outbox.drained()
    this.pings.drained()
  }

  onNoneWaiting(): void {
    // A sender that has got its turn may go on sending; the reply goes behind that.
    if (this.owedClose !== undefined) nextTurn(() => this.outbox.hasWaiting || this.replyNow())
  }

  onEnd(): void {
    this.receivedEof = true
    this.replyNow()
    if (this.ended === undefined) this.abort(new UnexpectedEof())
    this.transport.end()
  }

  onClose(error: TransportError | undefined): void {
    this.replyNow()
    if (this.ended === undefined) this.abort(error ?? new UnexpectedEof())
    this.timers.cancel(this.deadline)
    const { closed } = this.protocol
    this.meter.closed(this, closed)
    if (this.span !== undefined) this.endSpan(this.span, closed)
    this.inbox.detach()
    this.transportClosed.done(closed)
  }

  /** A frame or a message cannot be decoded. */
  onDecodeError(error: ProtocolError.ProtocolError | InvalidMessage): ConnectionClosed {
    if (this.protocol.canSend) {
      const frame = error._tag === "InvalidMessage"
        ? { code: error.closeCode, reason: fitReason(error.problem) }
        : { code: ProtocolError.closeCode(error), reason: error._tag }
      this.sendClose(frame, error)
    } else if (this.ended === undefined) {
      this.abort(error)
    }
    return failedWith(this.protocol.closed, error)
  }

  onKeepaliveTimeout(timeout: KeepaliveTimeout): void {
    this.sendClose({ code: CloseCode.InternalError, reason: timeout._tag }, timeout)
    this.transport.destroy()
  }

  // ---------------------------------------------------------------------------
  // Peers that read slowly, or not at all; connections that nobody uses
  // ---------------------------------------------------------------------------

  onHighWaterMark(): void {
    if (this.stopWriteWatch === undefined && this.protocol.canSend) this.watchWrites()
  }

  /** Watches as long as the transport is over its mark; nothing is done when it no longer is, until the next look. */
  private watchWrites(): void {
    const duration = Duration.fromInputUnsafe(this.writeTimeout)
    const before = this.outbox.bytesFlushed
    this.stopWriteWatch = watchInactivity(this.timers, Duration.toMillis(duration), {
      isInactive: () => this.outbox.overHighWaterMark && this.outbox.bytesFlushed === before,
      onTimeout: () => {
        const stalled = new WriteTimeout({ bufferedAmount: this.outbox.bufferedAmount, duration })
        this.sendClose({ code: CloseCode.PolicyViolation, reason: stalled._tag }, stalled)
        this.transport.destroy()
      },
      onActivity: () => {
        this.stopWriteWatch = undefined
        if (this.outbox.overHighWaterMark) this.watchWrites()
      }
    })
  }

  onTold(): void {
    this.told = true
  }

  /**
   * Whether a program that uses the connection may still have work with it: it has
   * read, or may yet read what is unread; or it was told how the connection ended.
   */
  get isUsed(): boolean {
    return this.told || this.inbox.isUsed || this.unreadAmount > 0 || this.end.isAwaited ||
      this.transportClosed.isAwaited
  }

  /** What was received and not taken yet, in bytes, with an overhead for each frame. */
  get unreadAmount(): number {
    return this.inbox.unreadAmount
  }

  onBlocked(): void {
    if (this.slowConsumer === "close" && this.stopSlowWatch === undefined) this.watchConsumer()
  }

  /** Watches whether there is room again for what waits. */
  private watchConsumer(): void {
    const { congestions } = this.outbox
    this.stopSlowWatch = watchInactivity(this.timers, Duration.toMillis(this.slowConsumerTimeout), {
      isInactive: () => this.outbox.overHighWaterMark && this.outbox.congestions === congestions,
      onTimeout: () => this.closeSlow(),
      onActivity: () => {
        this.stopSlowWatch = undefined
        if (this.outbox.overHighWaterMark) this.watchConsumer()
      }
    })
  }

  closeSlow(): void {
    this.failSlow(new SlowConsumer({ bufferedAmount: this.outbox.bufferedAmount }))
  }

  private failSlow(slow: SlowConsumer): ConnectionClosed {
    this.sendClose({ code: CloseCode.PolicyViolation, reason: slow._tag }, slow)
    return this.protocol.closed
  }

  /** An object derived from this one may override `send`, which a broadcast must not pass by. */
  get [broadcastTarget](): BroadcastTarget | undefined {
    return Object.getPrototypeOf(this) === ConnectionImpl.prototype ? this : undefined
  }

  isBehind(maxBufferedAmount: number): boolean {
    return this.outbox.isBehind(maxBufferedAmount)
  }

  skip(messages: number): void {
    this.outbox.messagesSkipped += messages
  }

  writeEncoded(bytes: Uint8Array, messages: number, sender: typeof beyondMark | undefined): boolean {
    return this.outbox.writeEncoded(bytes, messages, sender)
  }

  /** Bytes of messages, in both directions: what is sent to keep the connection alive is not its use. */
  private get messageBytes(): number {
    return this.bytesIn - this.protocol.controlBytesIn + this.outbox.bytesOut - this.pings.bytesOut
  }

  private watchIdle(duration: Duration.Duration): void {
    const before = this.messageBytes
    this.stopIdleWatch = watchInactivity(this.timers, Duration.toMillis(duration), {
      isInactive: () => this.messageBytes === before,
      onTimeout: () => {
        const idle = new IdleTimeout({ duration })
        this.sendClose({ code: CloseCode.GoingAway, reason: idle._tag }, idle)
      },
      onActivity: () => this.watchIdle(duration)
    })
  }

  // ---------------------------------------------------------------------------
  // Closing (RFC 6455 §7)
  // ---------------------------------------------------------------------------

  /** Sends a close frame, if none was sent yet. With a cause, the connection fails and no reply is awaited. */
  sendClose(frame: Frame.CloseFrame, cause?: ClosedCause): void {
    if (!this.protocol.canSend) return
    this.protocol.close(frame, cause)
    this.outbox.write(Frame.close(frame.code, frame.reason))
    this.beginClosing()
  }

  /**
   * Answers a close frame. "An endpoint MAY delay sending a Close frame until its current message is sent" (§5.5.1):
   * a \`send\` that waits for room was begun before the peer's close frame came, and is sent before the reply.
   */
  private reply(frame: Frame.CloseFrame): void {
    if (!this.outbox.hasWaiting || this.protocol.state !== "Closing") return this.sendClose(frame)
    this.owedClose = frame
    this.beginClosing()
  }

  /** Sends the reply that waits for senders, if one does. */
  private replyNow(): void {
    if (this.owedClose !== undefined) this.sendClose(this.owedClose)
    this.owedClose = undefined
  }

  /** Closing has begun: it goes on until the transport is gone, and has a deadline. */
  private beginClosing(): void {
    // It has a deadline of its own, and no ping may follow a close frame (§5.5.1).
    this.pings.stopKeepalive()
    this.stopWriteWatch?.()
    this.stopSlowWatch?.()
    this.stopIdleWatch?.()
    this.deadline ??= this.timers.schedule(Duration.toMillis(this.closeTimeout), () => {
      this.protocol.cut(new CloseTimeout({ duration: this.closeTimeout }))
      this.settle()
      this.transport.destroy()
    })
    // The peer's close frame has to be read even if nobody reads messages any more.
    this.resume()
    if (this.protocol.state === "Closed") this.settle()
  }

  /** The connection is cut off. */
  private abort(cause: ClosedCause): void {
    this.protocol.cut(cause)
    this.beginClosing()
  }

  /** How it ends is known: all who wait are told, and the transport is ended, by the server first (§7.1.1). */
  private settle(): void {
    if (this.finished) return
    this.finished = true
    const { closed } = this.protocol
    this.inbox.close(closed)
    this.outbox.close()
    this.pings.close(closed)
    this.end.done(closed)
    // What was written in this turn, the close frame among it, goes before the end.
    this.outbox.flush()
    if (this.role === "server" || closed.cause !== undefined || this.receivedEof) this.transport.end()
    this.resume()
    this.onOver?.()
  }

  // ---------------------------------------------------------------------------
  // Receiving
  // ---------------------------------------------------------------------------

  get receive(): Effect.Effect<Message.Message, ConnectionClosed> {
    return this.receiveEffect ??= this.inbox.readMessage(Effect.fail)
  }

  get messages(): Stream.Stream<Message.Message, ConnectionClosed> {
    return Stream.fromPull(Effect.succeed(this.inbox.readMessages(endOfStream)))
  }

  get frames(): Stream.Stream<Frame.Frame, ConnectionClosed> {
    return Stream.fromPull(Effect.succeed(this.inbox.readFrames(endOfFrames)))
  }

  get receiveWith(): Connection.Connection["receiveWith"] {
    return (decode, onInvalid) => this.inbox.readDecoded(decode, onInvalid, Effect.fail)
  }

  get messagesWith(): Connection.Connection["messagesWith"] {
    return (decode, onInvalid) =>
      Stream.fromPull(Effect.succeed(this.inbox.readAllDecoded(decode, onInvalid, endOfStream)))
  }

  get receiveFragments(): Effect.Effect<Connection.Fragments, ConnectionClosed> {
    return Effect.map(
      this.inbox.readFirstFragment(Effect.fail),
      ({ first, token }) => decodeFragments(this.inbox, first, token)
    )
  }

  get discard(): Connection.Connection["discard"] {
    return Effect.suspend(() => {
      this.inbox.discard()
      return this.closed
    })
  }

  [stopReceiving](): void {
    this.inbox.close(this.protocol.closed)
  }

  // ---------------------------------------------------------------------------
  // Sending
  // ---------------------------------------------------------------------------

  // These are functions that can be passed on. They are made when they are asked for, because most connections are idle.

  get send(): Connection.Connection["send"] {
    return (message, options) =>
      Effect.suspend(() => {
        const sendable = sendableOf(message)
        if (sendable instanceof InvalidInput) return failInvalid(sendable)
        if (!this.outbox.canWriteImmediately()) return this.sendInTurn([sendable], options)
        this.outbox.writeMessage(sendable)
        return Effect.void
      })
  }

  get sendAll(): Connection.Connection["sendAll"] {
    return (messages, options) =>
      Effect.suspend(() => {
        const sendables = sendablesOf(messages)
        if (sendables instanceof InvalidInput) return failInvalid(sendables)
        if (!this.outbox.canWriteImmediately()) return this.sendInTurn(sendables, options)
        this.outbox.writeMessages(sendables)
        return Effect.void
      })
  }

  /**
   * What they do when they cannot do it at once; it could always be done like this, at more cost. With `begin`, takes
   * its place before what is sent later, and writes when that has succeeded.
   */
  sendInTurn(
    messages: ReadonlyArray<Sendable>,
    options: SendOptions | undefined,
    sender?: typeof beyondMark | undefined,
    begin?: Effect.Effect<void>
  ): Effect.Effect<void, ConnectionClosed> {
    const write = () => this.outbox.writeData(messages.map(toFrame), options)
    return begin === undefined
      ? this.outbox.send(write, sender)
      : this.outbox.send(() => this.outbox.writeAfter(begin, write), sender, true)
  }

  get writable(): Connection.Connection["writable"] {
    return this.outbox.send(() => Effect.void)
  }

  get bufferedAmount(): number {
    return this.outbox.bufferedAmount
  }

  get sendFragments(): Connection.Connection["sendFragments"] {
    return (fragments, options) => this.sendStream(fragments, options)
  }

  private sendStream<E, R>(
    fragments: Stream.Stream<string, E, R> | Stream.Stream<Uint8Array, E, R>,
    options: SendOptions | undefined
  ): Effect.Effect<void, E | ConnectionClosed | UnexpectedFragment, R> {
    return Effect.suspend(() => {
      const encoder = new FragmentEncoder()
      const send = (frame: Frame.Frame, turn: object | undefined) =>
        this.outbox.send(() => {
          // Before anything is begun that would have to be aborted.
          const detached = findDetached([frame])
          if (detached !== undefined) return failInvalid(detached)
          this.outbox.beginMessage(encoder)
          return this.outbox.writeData([frame], options, () => {
            if (frame.fin) this.outbox.endMessage(encoder)
          })
        }, turn)
      const sendFragment = (
        fragment: string | Uint8Array,
        last: boolean
      ): Effect.Effect<void, ConnectionClosed | UnexpectedFragment> => {
        const turn = encoder.begun ? encoder : undefined
        const frame = encoder.next(fragment, last)
        if (frame instanceof Frame.Frame) return send(frame, turn)
        return frame instanceof InvalidInput ? failInvalid(frame) : Effect.fail(frame)
      }
      return forEachFragment(fragments as Stream.Stream<string | Uint8Array, E, R>, sendFragment).pipe(
        Effect.flatMap(() => encoder.ended ? Effect.void : send(encoder.end(), encoder)),
        Effect.ensuring(Effect.sync(() => {
          if (!this.outbox.isMessageOf(encoder)) return
          // Fragments are on the wire that nothing can complete (§5.4): the peer must not wait for the rest.
          const aborted = new MessageAborted()
          this.sendClose({ code: CloseCode.InternalError, reason: aborted._tag }, aborted)
          this.outbox.endMessage(encoder)
        }))
      )
    })
  }

  get sendFrame(): Connection.Connection["sendFrame"] {
    return (given, options) =>
      Effect.suspend((): ReturnType<Connection.Connection["sendFrame"]> => {
        const frame = frameFrom(given)
        if (frame instanceof InvalidInput) return failInvalid(frame)
        const broken = brokenRule(frame)
        if (broken !== undefined) return Effect.fail(broken)
        return Frame.isControl(frame) ? this.sendControlFrame(frame) : this.sendDataFrame(frame, options)
      })
  }

  private sendDataFrame(
    frame: Frame.Frame,
    options: SendOptions | undefined
  ): Effect.Effect<void, ConnectionClosed | UnexpectedFragment> {
    // The connection itself stands for whoever sends a message frame by frame.
    const inside = this.outbox.isMessageOf(this)
    if (inside !== (frame.opcode === Frame.Opcode.Continuation)) {
      const problem = inside ? "the message before it is unfinished" : "it continues no message"
      return Effect.fail(new UnexpectedFragment({ problem }))
    }
    return this.outbox.send(() => {
      const detached = findDetached([frame])
      if (detached !== undefined) return failInvalid(detached)
      this.outbox.beginMessage(this)
      return this.outbox.writeData([frame], options, () => {
        if (frame.fin) this.outbox.endMessage(this)
      })
    }, inside ? this : undefined)
  }

  private sendControlFrame(frame: Frame.Frame): Effect.Effect<void, ConnectionClosed> {
    const { opcode, payload } = frame
    // It waits for room, and must not change meanwhile.
    const own = payload.slice()
    return this.outbox.send(() => {
      if (opcode === Frame.Opcode.Close) this.sendClose(Frame.readClose(own) as Frame.CloseFrame)
      else this.outbox.write(new Frame.Frame(opcode, own))
      return Effect.void
    }, controlToken)
  }

  get ping(): Connection.Connection["ping"] {
    return ((payload?: string | Uint8Array) =>
      payload === undefined ? this.pings.ping() : this.pings.pingWith(payload)) as Connection.Connection["ping"]
  }

  // ---------------------------------------------------------------------------
  // The end
  // ---------------------------------------------------------------------------

  get close(): Connection.Connection["close"] {
    return (code = CloseCode.NormalClosure, reason = "") =>
      Effect.suspend((): Effect.Effect<ConnectionClosed, ProtocolError.InvalidCloseCode | CloseReasonTooLong> => {
        const problem = closeProblem(code, reason)
        if (problem instanceof InvalidInput) return failInvalid(problem)
        return problem === undefined ? this.closeWith({ code, reason }) : Effect.fail(problem)
      })
  }

  get fail(): Connection.Connection["fail"] {
    return (cause) => Effect.sync(() => cause._tag === "InvalidMessage" ? this.inbox.fail(cause) : this.failSlow(cause))
  }

  /** Closes the connection because its Scope is closed. */
  closeOnExit(exit: Exit.Exit<unknown, unknown>): Effect.Effect<ConnectionClosed> {
    const code = Exit.isSuccess(exit)
      ? CloseCode.NormalClosure
      : Cause.hasInterruptsOnly(exit.cause)
      ? CloseCode.GoingAway
      : CloseCode.InternalError
    return this.closeWith({ code, reason: "" })
  }

  private closeWith(frame: Frame.CloseFrame): Effect.Effect<ConnectionClosed> {
    return Effect.suspend(() => {
      this.sendClose(frame)
      return this.transportClosed.await
    })
  }

  /** How the connection ended, once that is known. */
  get ended(): ConnectionClosed | undefined {
    return this.protocol.state === "Closed" ? this.protocol.closed : undefined
  }

  /** The code that the connection has ended with, or will; undefined as long as it is open. */
  get closingCode(): number | undefined {
    return this.ended?.code ?? this.protocol.closed.sent?.code
  }

  /** Whether an error says how this connection ended, or that it was being closed; or was caused by one that does. */
  isExpectedEnd(error: unknown, depth = 0): boolean {
    const { closed } = this.protocol
    if (error === closed) return true
    if (error instanceof ConnectionClosed) {
      const frame = error.sent ?? error.received
      return frame !== undefined && (frame === closed.sent || frame === closed.received)
    }
    return error instanceof Error && depth < maxCauses && this.isExpectedEnd(error.cause, depth + 1)
  }

  get closed(): Effect.Effect<ConnectionClosed> {
    return this.end.await
  }

  get stats(): Effect.Effect<Connection.Stats> {
    return Effect.sync(() => ({
      bytesIn: this.bytesIn,
      bytesOut: this.outbox.bytesOut,
      framesIn: this.protocol.framesIn,
      framesOut: this.outbox.framesOut,
      messagesIn: this.protocol.messagesIn,
      messagesOut: this.outbox.messagesOut,
      messagesSkipped: this.outbox.messagesSkipped,
      bufferedAmount: this.outbox.bufferedAmount,
      unreadAmount: this.unreadAmount
    }))
  }

  private endSpan(span: Tracer.Span, closed: ConnectionClosed): void {
    const carried: Totals = { bytesIn: 0, bytesOut: 0, messagesIn: 0, messagesOut: 0 }
    this.collect(carried)
    span.attribute("websocket.close.code", closed.code)
    if (closed.cause !== undefined) span.attribute("websocket.close.cause", closed.cause._tag)
    if (this.subprotocol !== undefined) span.attribute("websocket.subprotocol", this.subprotocol)
    span.attribute("websocket.bytes.in", carried.bytesIn)
    span.attribute("websocket.bytes.out", carried.bytesOut)
    span.attribute("websocket.messages.in", carried.messagesIn)
    span.attribute("websocket.messages.out", carried.messagesOut)
    span.end(this.timers.clock.currentTimeNanosUnsafe(), closed.normal ? Exit.void : Exit.fail(closed))
  }

  collect(carried: Totals): void {
    carried.bytesIn += this.bytesIn
    carried.bytesOut += this.outbox.bytesOut
    carried.messagesIn += this.protocol.messagesIn
    carried.messagesOut += this.outbox.messagesOut
  }
}

const maxReasonLength = 123

/** As much of a text as a close frame has room for (§5.5.1), in whole characters. */
const fitReason = (text: string): string => {
  const bytes = Buffer.from(text)
  if (bytes.length <= maxReasonLength) return text
  let end = maxReasonLength
  while ((bytes[end] & 0xc0) === 0x80) end--
  return bytes.toString("utf8", 0, end)
}

/** Why a program cannot close with this code and reason, if it cannot. */
export const closeProblem = (
  code: number,
  reason: string
): ProtocolError.InvalidCloseCode | CloseReasonTooLong | InvalidInput | undefined => {
  const invalid = closeProblemOf(code, reason)
  if (invalid !== undefined) return invalid
  if (!CloseCode.isSendable(code)) return new ProtocolError.InvalidCloseCode({ code })
  const length = Buffer.byteLength(reason)
  return length > maxReasonLength ? new CloseReasonTooLong({ length }) : undefined
}

/** Which rule of RFC 6455 §5.2, §5.5 or §7.4 a frame of the program's would break on the wire. */
const brokenRule = (
  { fin, opcode, payload, reserved }: Frame.Frame
): ControlPayloadTooLong | ProtocolError.InvalidCloseCode | InvalidFrame | undefined => {
  // Extensions set their bits themselves, when they encode the frame.
  if (reserved !== 0) return new InvalidFrame({ opcode, rule: "ReservedBits" })
  if (opcode < Frame.Opcode.Close) return undefined
  if (!fin) return new InvalidFrame({ opcode, rule: "FragmentedControlFrame" })
  if (payload.length > 125) return new ControlPayloadTooLong({ opcode, length: payload.length })
  const close = opcode === Frame.Opcode.Close ? Frame.readClose(payload) : undefined
  if (close === undefined || !("_tag" in close)) return undefined
  return close._tag === "InvalidCloseCode" ? close : new InvalidFrame({ opcode, rule: close._tag })
}

/** Whether this end has yet to answer the peer's close frame (`autoClose: false`). */
const isUnanswered = ({ cause, received, sent }: ConnectionClosed): boolean =>
  received !== undefined && sent === undefined && cause === undefined

/** Ends a stream if the connection ended normally, and fails it otherwise. */
const endOfStream = (closed: ConnectionClosed): Effect.Effect<never, ConnectionClosed | Cause.Done> =>
  closed.normal || (isUnanswered(closed) && CloseCode.isNormal(closed.code)) ? Cause.done() : Effect.fail(closed)

/** The same for frames, which end with any close frame that is left to the program: it is the last of them. */
const endOfFrames = (closed: ConnectionClosed): Effect.Effect<never, ConnectionClosed | Cause.Done> =>
  isUnanswered(closed) ? Cause.done() : endOfStream(closed)

/** Opens a connection, with what it needs from a context. `onOver` is called once, when it is known how the connection ended. */
export const makeUnsafe = (
  transport: Transport,
  options: Connection.MakeOptions,
  agreement: Agreement,
  context: Context.Context<never>,
  extensions: Extensions | undefined,
  onOver?: () => void
): ConnectionImpl => {
  const codec = Context.get(context, Frame.FrameCodec)
  const meter = ConnectionMetrics.of(context, options.role)
  const timers = Timers.of(context)
  const connection = new ConnectionImpl(transport, options, agreement, codec, timers, meter, extensions, onOver)
  connection.span = startSpan(context, "websocket.connection", options.role)
  connection.start(options)
  return connection
}

/** Opens a connection that is closed with its Scope. */
export const makeScoped = (
  transport: Transport,
  options: Connection.MakeOptions
): Effect.Effect<ConnectionImpl, never, Scope.Scope> =>
  Effect.suspend(() => {
    const problem = checkConnection(options)
    if (problem !== undefined) return Effect.die(problem)
    return Effect.flatMap(
      startExtensions(options.negotiated ?? [], options.maxMessageSize),
      (extensions) => makeScopedUnchecked(transport, options, extensions)
    )
  })

/** The same, with options that were checked and extensions that have begun. */
export const makeScopedUnchecked = (
  transport: Transport,
  options: Connection.MakeOptions,
  extensions: Extensions | undefined
): Effect.Effect<ConnectionImpl, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.contextWith((context: Context.Context<never>) =>
      Effect.sync(() => makeUnsafe(transport, options, options, context, extensions))
    ),
    (connection, exit) => connection.closeOnExit(exit)
  )
