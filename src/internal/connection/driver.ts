/**
 * Drives one connection: the transport calls it, bytes go through the protocol
 * into the receive queue, and it holds the parts of the connection together.
 *
 * The callbacks of the transport and the effects of programs run on one thread,
 * and each step is finished before the next begins.
 */
import * as Duration from "effect/Duration"
import * as Exit from "effect/Exit"
import type * as Tracer from "effect/Tracer"
import * as CloseCode from "../../CloseCode.ts"
import type * as Connection from "../../Connection.ts"
import type { ConnectionClosed, InvalidMessage, KeepaliveTimeout, TransportError } from "../../ConnectionError.ts"
import * as Frame from "../../Frame.ts"
import * as ProtocolError from "../../ProtocolError.ts"
import type { Receiver, Transport } from "../../Transport.ts"
import { Protocol } from "../protocol/connectionProtocol.ts"
import type { Timers } from "../runtime/timers.ts"
import type { ConnectionMetrics, MetricSource, Totals } from "../telemetry/metrics.ts"
import { Closing, type ClosingHost } from "./closing.ts"
import type { Extensions } from "./extensionPipeline.ts"
import { failedWith } from "./decodedReader.ts"
import { Keepalive, type KeepaliveTarget } from "./keepalive.ts"
import { Pings, type PingsHost } from "./pings.ts"
import { ReceiveQueue } from "./receiveQueue.ts"
import { fitReason } from "./closeRules.ts"
import { SendQueue, type SendQueueHost } from "./sendQueue.ts"
import { type TimeLimits, timeLimitsOf, Timeouts, type TimeoutsHost } from "./timeouts.ts"

const defaultHighWaterMark = 64 * 1024
const defaultMaxUnansweredPings = 100
const defaultKeepalive = Duration.seconds(20)

/** Whether the beginning of the same frame was delivered before. */
const continuesFrame = (frame: Frame.Frame): boolean => frame instanceof Frame.Piece && frame.offset > 0

/** What a connection needs from its surroundings. */
export interface DriverContext {
  readonly codec: Frame.FrameCodec
  readonly timers: Timers
  readonly metrics: ConnectionMetrics
  /** The span of the connection, if there is a tracer. */
  readonly span: Tracer.Span | undefined
  readonly extensions: Extensions | undefined
  /** Called once, when it is known how the connection ended. */
  readonly onEnded: (() => void) | undefined
}

/** It has more fields than most classes: they are the parts that it connects, and its place in the list of metrics. */
export class Driver
  implements Receiver, SendQueueHost, PingsHost, ClosingHost, KeepaliveTarget, TimeoutsHost, MetricSource
{
  readonly protocol: Protocol
  readonly receiveQueue: ReceiveQueue
  readonly sendQueue: SendQueue
  readonly pings: Pings
  readonly closing: Closing
  private readonly timeLimits: TimeLimits
  private madeTimeouts: Timeouts | undefined
  readonly timers: Timers
  readonly metrics: ConnectionMetrics
  readonly span: Tracer.Span | undefined
  readonly onEnded: (() => void) | undefined
  readonly transport: Transport
  private keepalive: Keepalive | undefined
  /** Whether the transport is paused because the receive queue is full. */
  isPaused = false
  /** Whether received data is dropped, because this end has closed. */
  private isDiscarding = false
  bytesIn = 0
  previous: MetricSource | undefined = undefined
  next: MetricSource | undefined = undefined

  constructor(transport: Transport, options: Connection.MakeOptions, context: DriverContext) {
    const { codec, extensions } = context
    this.transport = transport
    this.timers = context.timers
    this.metrics = context.metrics
    this.span = context.span
    this.onEnded = context.onEnded
    this.protocol = new Protocol(options.role, codec, options, extensions)
    this.sendQueue = new SendQueue(this, transport, this.protocol, {
      coalesce: options.coalesceWrites ?? true,
      maskKey: options.role === "client" ? codec.maskKey : undefined,
      extensions
    })
    this.receiveQueue = new ReceiveQueue(options.inboundHighWaterMark ?? defaultHighWaterMark, this, extensions)
    this.pings = new Pings(this, this.sendQueue, options.maxUnansweredPings ?? defaultMaxUnansweredPings)
    this.closing = new Closing(this, options.closeTimeout)
    this.timeLimits = timeLimitsOf(options)
  }

  start({ idleTimeout, keepalive }: Connection.Options): void {
    this.metrics.opened(this, this.timers)
    this.transport.start(this)
    if (idleTimeout !== undefined) {
      this.timeouts.watchIdle(Duration.fromInputUnsafe(idleTimeout), () => this.messageBytes)
    }
    if (keepalive === false) return
    const interval = Duration.toMillis(keepalive?.interval ?? defaultKeepalive)
    const timeout = Duration.toMillis(keepalive?.timeout ?? defaultKeepalive)
    this.keepalive = new Keepalive(this, interval, timeout)
    this.keepalive.start()
  }

  get timeouts(): Timeouts {
    return this.madeTimeouts ??= new Timeouts(this, this.timeLimits)
  }

  // -- the transport ---------------------------------------------------------

  onData(chunk: Uint8Array): void {
    this.bytesIn += chunk.length
    // Everything that this read causes to be sent leaves in one write.
    this.sendQueue.cork()
    const { close, deliver, pongPayloads, pongs } = this.protocol.receive(chunk)
    if (pongPayloads !== undefined) { for (const payload of pongPayloads) this.pings.onPong(payload) }
    // Pongs first: a ping within a fragmented message gets its pong before the message gets its reply (§5.4).
    if (pongs !== undefined && this.protocol.canSend) { for (const pong of pongs) this.pings.pong(pong) }
    if (deliver.length > 0) this.deliver(deliver)
    if (close !== undefined) this.closing.reply(close)
    else if (this.protocol.state !== "Open") {
      this.closing.begin()
      // Until this end replies, the end is not known. But nothing follows the peer's close frame (§5.5.1).
      if (this.protocol.repliesLater) this.stopReceiving()
    }
    this.sendQueue.uncork()
    if (this.receiveQueue.full && this.protocol.state === "Open") this.pause()
  }

  /**
   * After this end has sent its close frame, a full queue takes the rest of the
   * frame that it has begun, and nothing more: the connection has to read on, up
   * to the peer's close frame.
   */
  private deliver(frames: Array<Frame.Frame>): void {
    this.isDiscarding ||= this.receiveQueue.full && !this.protocol.canSend && !continuesFrame(frames[0])
    if (!this.isDiscarding) this.receiveQueue.push(frames)
  }

  onDrain(): void {
    this.sendQueue.onDrain()
    this.pings.onDrain()
    this.keepalive?.onDrain()
  }

  onEnd(): void {
    this.closing.onEof()
  }

  onClose(error: TransportError | undefined): void {
    const closed = this.closing.onTransportClosed(error)
    this.metrics.closed(this, closed)
    if (this.span !== undefined) this.endSpan(this.span, closed)
    this.receiveQueue.detach()
    this.closing.transportClosed.set(closed)
  }

  private pause(): void {
    if (this.isPaused) return
    this.isPaused = true
    this.metrics.inboundBackpressure.start(this, this.timers.now())
    this.transport.pause()
  }

  /** The receive queue has drained, or its content does not matter any more. */
  resume(): void {
    if (!this.isPaused) return
    this.isPaused = false
    this.metrics.inboundBackpressure.stop(this, this.timers.now())
    this.transport.resume()
  }

  // -- the parts -------------------------------------------------------------

  /** A frame or a message cannot be decoded. Returns how the connection ends. */
  onDecodeError(error: ProtocolError.ProtocolError | InvalidMessage): ConnectionClosed {
    if (!this.protocol.canSend) {
      if (this.closing.closed === undefined) this.closing.abort(error)
    } else if (error._tag === "InvalidMessage") {
      this.closing.close({ code: error.closeCode, reason: fitReason(error.problem) }, error)
    } else {
      this.closing.fail(ProtocolError.closeCode(error), error)
    }
    return failedWith(this.protocol.closed, error)
  }

  onHighWaterMark(): void {
    this.timeouts.onHighWaterMark()
  }

  onBlocked(): void {
    this.timeouts.onBlocked()
  }

  onNoneWaiting(): void {
    this.closing.onNoneWaiting()
  }

  onObserved(): void {
    this.closing.ended.isObserved = true
  }

  onKeepaliveTimeout(timeout: KeepaliveTimeout): void {
    this.closing.cutOff(CloseCode.InternalError, timeout)
  }

  onClosing(): void {
    // No ping may follow a close frame (§5.5.1), and closing has a timeout of its own.
    this.keepalive?.stop()
    this.madeTimeouts?.stop()
    // The peer's close frame must be read even if no program reads messages.
    this.resume()
  }

  failWaiting(closed: ConnectionClosed): void {
    this.receiveQueue.close(closed)
    this.sendQueue.close()
    this.pings.close(closed)
  }

  /** Fails fibers that wait for messages, before it is known how the connection ends. */
  stopReceiving(): void {
    this.receiveQueue.close(this.protocol.closed)
  }

  /**
   * Whether a program that uses the connection may still have work with it: it has
   * read, may read what is unread, or has learned how the connection ended.
   */
  get isUsed(): boolean {
    return this.receiveQueue.isUsed || this.receiveQueue.unreadAmount > 0 || this.closing.isObserved
  }

  /** The bytes of messages in both directions. Pings and pongs do not count as use of the connection. */
  private get messageBytes(): number {
    return this.bytesIn - this.protocol.controlBytesIn + this.sendQueue.bytesOut - this.pings.bytesOut
  }

  // -- telemetry -------------------------------------------------------------

  collect(totals: Totals): void {
    totals.bytesIn += this.bytesIn
    totals.bytesOut += this.sendQueue.bytesOut
    totals.messagesIn += this.protocol.messagesIn
    totals.messagesOut += this.sendQueue.messagesOut
  }

  private endSpan(span: Tracer.Span, closed: ConnectionClosed): void {
    span.attribute("websocket.close.code", closed.code)
    if (closed.cause !== undefined) span.attribute("websocket.close.cause", closed.cause._tag)
    span.attribute("websocket.bytes.in", this.bytesIn)
    span.attribute("websocket.bytes.out", this.sendQueue.bytesOut)
    span.attribute("websocket.messages.in", this.protocol.messagesIn)
    span.attribute("websocket.messages.out", this.sendQueue.messagesOut)
    span.end(this.timers.clock.currentTimeNanosUnsafe(), closed.normal ? Exit.void : Exit.fail(closed))
  }
}
