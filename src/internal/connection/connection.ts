/**
 * What programs can do with a connection. `Driver` has the parts that do it.
 *
 * Functions that programs can pass on, such as `send`, are made when they are
 * asked for, because most connections are idle.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Tracer from "effect/Tracer"
import * as CloseCode from "../../CloseCode.ts"
import type * as Connection from "../../Connection.ts"
import {
  type CloseReasonTooLong,
  type ConnectionClosed,
  InvalidInput,
  UnexpectedFragment
} from "../../ConnectionError.ts"
import type { HeaderEntry, SendOptions } from "../../Extension.ts"
import * as Frame from "../../Frame.ts"
import type * as Handshake from "../../Handshake.ts"
import type { InvalidOption } from "../../HandshakeError.ts"
import type * as Message from "../../Message.ts"
import type * as ProtocolError from "../../ProtocolError.ts"
import type { Transport } from "../../Transport.ts"
import { Timers } from "../runtime/timers.ts"
import { ConnectionMetrics } from "../telemetry/metrics.ts"
import { requestAttributes } from "../telemetry/requestAttributes.ts"
import { startSpan } from "../telemetry/tracing.ts"
import { checkClose, isEmptyClose } from "./closeRules.ts"
import { type Closing, isUnanswered } from "./closing.ts"
import { Driver } from "./driver.ts"
import { type Extensions, start as startExtensions } from "./extensionPipeline.ts"
import { decodeFragments } from "./fragments.ts"
import { type BroadcastTarget, broadcastTarget, httpVersion, relayPort, stopReceiving } from "./hooks.ts"
import { failInvalid, frameFrom, type Sendable, sendableOf, sendablesOf, toFrame } from "./input.ts"
import { checkConnection } from "./options.ts"
import type { Pings } from "./pings.ts"
import type { ReceiveQueue } from "./receiveQueue.ts"
import { QueuePort, type RelayPort } from "./relayPort.ts"
import { sendFragments, sendMessageFrame } from "./sendFragments.ts"
import { type aboveMarkToken, controlToken, type SendQueue } from "./sendQueue.ts"
import { checkFrame } from "./sendRules.ts"
import type { SharedMessage } from "./sharedMessage.ts"

/** The handshake of a connection that was made without one. */
export const noHandshake: Connection.HandshakeInfo = {
  request: {
    path: "/",
    query: new URLSearchParams(),
    httpVersion: "1.1",
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

/** What was negotiated in the opening handshake. It differs between the connections of a server, other options do not. */
type Agreement = Pick<Connection.MakeOptions, "handshake" | "negotiated">

export class ConnectionImpl implements Connection.Connection, BroadcastTarget {
  readonly extensions: ReadonlyArray<HeaderEntry>
  private readonly handshake: Connection.HandshakeInfo
  private readonly driver: Driver
  private readonly receiveQueue: ReceiveQueue
  private readonly sendQueue: SendQueue
  /** Kept, because programs ask for it again and again. */
  private receiveEffect: Connection.Connection["receive"] | undefined

  constructor(driver: Driver, { handshake = noHandshake, negotiated }: Agreement) {
    this.extensions = negotiated === undefined || negotiated.length === 0
      ? noExtensions
      : negotiated.map(({ entry }) => entry)
    this.handshake = handshake
    this.driver = driver
    this.receiveQueue = driver.receiveQueue
    this.sendQueue = driver.sendQueue
  }

  get role(): Frame.Role {
    return this.driver.protocol.role
  }

  get closing(): Closing {
    return this.driver.closing
  }

  private get pings(): Pings {
    return this.driver.pings
  }

  get request(): Handshake.Request {
    return this.handshake.request
  }

  get [httpVersion](): string | undefined {
    return (this.handshake as { readonly [httpVersion]?: string })[httpVersion]
  }

  get responseHeaders(): Handshake.Headers {
    return this.handshake.responseHeaders
  }

  get rawResponseHeaders(): Handshake.RawHeaders {
    return this.handshake.rawResponseHeaders
  }

  get subprotocol(): string | undefined {
    return this.handshake.subprotocol
  }

  // ---------------------------------------------------------------------------
  // Receiving
  // ---------------------------------------------------------------------------

  get receive(): Effect.Effect<Message.Message, ConnectionClosed> {
    return this.receiveEffect ??= this.receiveQueue.readMessage(Effect.fail)
  }

  get messages(): Stream.Stream<Message.Message, ConnectionClosed> {
    return Stream.fromPull(Effect.succeed(this.receiveQueue.readMessages(endOfStream)))
  }

  get frames(): Stream.Stream<Frame.Frame, ConnectionClosed> {
    return Stream.fromPull(Effect.succeed(this.receiveQueue.readFrames(endOfFrames)))
  }

  get receiveWith(): Connection.Connection["receiveWith"] {
    return (decode, onInvalid) => this.receiveQueue.readDecoded(decode, onInvalid, Effect.fail)
  }

  get messagesWith(): Connection.Connection["messagesWith"] {
    return (decode, onInvalid) =>
      Stream.fromPull(Effect.succeed(this.receiveQueue.readAllDecoded(decode, onInvalid, endOfStream)))
  }

  get receiveFragments(): Effect.Effect<Connection.Fragments, ConnectionClosed> {
    return Effect.map(
      this.receiveQueue.readFirstFragment(Effect.fail),
      ({ first, token }) => decodeFragments(this.receiveQueue, first, token)
    )
  }

  get discard(): Connection.Connection["discard"] {
    return Effect.suspend(() => {
      this.receiveQueue.discard()
      return this.closed
    })
  }

  [stopReceiving](): void {
    this.driver.stopReceiving()
  }

  // ---------------------------------------------------------------------------
  // Sending
  // ---------------------------------------------------------------------------

  get send(): Connection.Connection["send"] {
    return (message, options) =>
      Effect.suspend(() => {
        const sendable = sendableOf(message)
        if (sendable instanceof InvalidInput) return failInvalid(sendable)
        if (!this.sendQueue.canWriteImmediately()) return this.sendFrames([sendable], options)
        this.sendQueue.writeMessage(sendable)
        return Effect.void
      })
  }

  get sendAll(): Connection.Connection["sendAll"] {
    return (messages, options) =>
      Effect.suspend(() => {
        const sendables = sendablesOf(messages)
        if (sendables instanceof InvalidInput) return failInvalid(sendables)
        if (!this.sendQueue.canWriteImmediately()) return this.sendFrames(sendables, options)
        this.sendQueue.writeMessages(sendables)
        return Effect.void
      })
  }

  /** The general way to send, at more cost: through extensions, or when senders have to wait. */
  private sendFrames(
    messages: ReadonlyArray<Sendable>,
    options: SendOptions | undefined
  ): Effect.Effect<void, ConnectionClosed> {
    return this.sendQueue.send(() => this.sendQueue.writeData(messages.map(toFrame), options))
  }

  get writable(): Connection.Connection["writable"] {
    return this.sendQueue.send(() => Effect.void)
  }

  get sendFragments(): Connection.Connection["sendFragments"] {
    return <E, R>(
      fragments: Stream.Stream<string, E, R> | Stream.Stream<Uint8Array, E, R>,
      options?: SendOptions
    ) => sendFragments(this.sendQueue, this.closing, fragments as Stream.Stream<string | Uint8Array, E, R>, options)
  }

  get sendFrame(): Connection.Connection["sendFrame"] {
    return (input, options) =>
      Effect.suspend((): ReturnType<Connection.Connection["sendFrame"]> => {
        const frame = frameFrom(input)
        if (frame instanceof InvalidInput) return failInvalid(frame)
        const broken = checkFrame(frame)
        if (broken !== undefined) return Effect.fail(broken)
        return Frame.isControl(frame) ? this.sendControlFrame(frame) : this.sendDataFrame(frame, options)
      })
  }

  private sendDataFrame(
    frame: Frame.Frame,
    options: SendOptions | undefined
  ): Effect.Effect<void, ConnectionClosed | UnexpectedFragment> {
    // The connection itself stands for the message that the program sends frame by frame.
    const inMessage = this.sendQueue.isMessageOf(this)
    if (inMessage !== (frame.opcode === Frame.Opcode.Continuation)) {
      const problem = inMessage
        ? "expected a continuation of the unfinished message, got the beginning of another" :
        "expected the beginning of a message, got a continuation"
      return Effect.fail(new UnexpectedFragment({ problem }))
    }
    return sendMessageFrame(this.sendQueue, this, frame, options, inMessage ? this : undefined)
  }

  private sendControlFrame(frame: Frame.Frame): Effect.Effect<void, ConnectionClosed> {
    const { opcode, payload } = frame
    // The program may change its memory while the frame waits.
    const copy = payload.slice()
    return this.sendQueue.send(() => {
      if (opcode === Frame.Opcode.Close) this.closing.close(Frame.readClose(copy) as Frame.CloseFrame)
      else this.sendQueue.write(new Frame.Frame(opcode, copy))
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
        const problem = isEmptyClose(code, reason) ? undefined : checkClose(code, reason)
        if (problem instanceof InvalidInput) return failInvalid(problem)
        return problem === undefined ? this.closing.closeAndAwait({ code, reason }) : Effect.fail(problem)
      })
  }

  get terminate(): Connection.Connection["terminate"] {
    return this.closing.terminate
  }

  get closed(): Effect.Effect<ConnectionClosed> {
    return this.closing.ended.await
  }

  get fail(): Connection.Connection["fail"] {
    return (cause) =>
      Effect.sync(() => {
        if (cause._tag === "InvalidMessage") return this.receiveQueue.fail(cause)
        if (cause._tag === "KeepaliveTimeout") this.closing.fail(CloseCode.InternalError, cause)
        else this.driver.timeouts.closeSlowConsumer(cause)
        return this.driver.protocol.closed
      })
  }

  // ---------------------------------------------------------------------------
  // Broadcasts and relays
  // ---------------------------------------------------------------------------

  /** An object derived from this one may override members, which broadcasts and relays must not bypass. */
  private get isDerived(): boolean {
    return Object.getPrototypeOf(this) !== ConnectionImpl.prototype
  }

  get [relayPort](): RelayPort | undefined {
    return this.isDerived ? undefined : new QueuePort(this.receiveQueue, this.sendQueue, this.pings, this.closing)
  }

  get [broadcastTarget](): BroadcastTarget | undefined {
    return this.isDerived ? undefined : this
  }

  isBehind(maxBufferedAmount: number): boolean {
    return this.sendQueue.isBehind(maxBufferedAmount)
  }

  closeSlowConsumer(): void {
    this.driver.timeouts.closeSlowConsumer()
  }

  skip(messages: number): void {
    this.sendQueue.messagesSkipped += messages
  }

  get isWritable(): boolean {
    return this.sendQueue.canWrite()
  }

  onWritable(listener: () => void): void {
    this.sendQueue.onWritable(listener)
  }

  writeShared(shared: SharedMessage, token?: typeof aboveMarkToken): boolean {
    return this.sendQueue.canWrite(token) && this.sendQueue.writeShared(shared)
  }

  sendShared(
    shared: SharedMessage,
    token: typeof aboveMarkToken | undefined,
    ready: Effect.Effect<void>
  ): Effect.Effect<void, ConnectionClosed> {
    const { messages, options } = shared
    return this.sendQueue.send(
      () =>
        this.sendQueue.writeShared(shared)
          ? Effect.void
          : this.sendQueue.writeAfter(ready, () => this.sendQueue.writeData(messages.map(toFrame), options)),
      token,
      true
    )
  }

  // ---------------------------------------------------------------------------
  // Observing
  // ---------------------------------------------------------------------------

  get stats(): Effect.Effect<Connection.Stats> {
    return Effect.sync(() => ({
      bytesIn: this.driver.bytesIn,
      bytesOut: this.sendQueue.bytesOut,
      framesIn: this.driver.protocol.framesIn,
      framesOut: this.sendQueue.framesOut,
      messagesIn: this.driver.protocol.messagesIn,
      messagesOut: this.sendQueue.messagesOut,
      messagesSkipped: this.sendQueue.messagesSkipped,
      bufferedAmount: this.sendQueue.bufferedAmount,
      unreadAmount: this.unreadAmount
    }))
  }

  get bufferedAmount(): Effect.Effect<number> {
    return Effect.sync(() => this.sendQueue.bufferedAmount)
  }

  get activity(): Connection.Connection["activity"] {
    return Effect.sync(() => ({ received: this.driver.bytesIn, isPaused: this.driver.isPaused }))
  }

  /** The bytes that were received and not read, with an overhead for each frame. */
  get unreadAmount(): number {
    return this.receiveQueue.unreadAmount
  }

  get isUsed(): boolean {
    return this.driver.isUsed
  }

  get timers(): Timers {
    return this.driver.timers
  }

  /** The span of the connection, if there is a tracer. */
  get span(): Tracer.Span | undefined {
    return this.driver.span
  }
}

/** Ends a stream if the connection ended normally, and fails it otherwise. */
const endOfStream = (closed: ConnectionClosed): Effect.Effect<never, ConnectionClosed | Cause.Done> =>
  closed.normal || (isUnanswered(closed) && CloseCode.isNormal(closed.code)) ? Cause.done() : Effect.fail(closed)

/** Ends a stream of frames also after any close frame that is left to the program, which is the last frame. */
const endOfFrames = (closed: ConnectionClosed): Effect.Effect<never, ConnectionClosed | Cause.Done> =>
  isUnanswered(closed) ? Cause.done() : endOfStream(closed)

/** Makes a connection from options that were checked and extensions that were started. */
export const makeUnsafe = (
  transport: Transport,
  options: Connection.MakeOptions,
  agreement: Agreement,
  context: Context.Context<never>,
  extensions: Extensions | undefined,
  onEnded?: () => void
): ConnectionImpl => {
  const { role } = options
  const span = startSpan(context, "websocket.connection", role, () => ({ attributes: attributesOf(role, agreement) }))
  const driver = new Driver(transport, options, {
    codec: Context.get(context, Frame.FrameCodec),
    timers: Timers.of(context),
    metrics: ConnectionMetrics.of(context, role),
    span,
    extensions,
    onEnded
  })
  const connection = new ConnectionImpl(driver, agreement)
  driver.start(options)
  return connection
}

const attributesOf = (
  role: Frame.Role,
  { handshake: { request, subprotocol } = noHandshake }: Agreement
): Record<string, unknown> => ({
  ...requestAttributes(role, request),
  ...subprotocol === undefined ? {} : { "websocket.subprotocol": subprotocol }
})

/** Makes a connection that is closed with its Scope. */
export const makeScoped = (
  transport: Transport,
  options: Connection.MakeOptions
): Effect.Effect<ConnectionImpl, InvalidOption, Scope.Scope> =>
  Effect.suspend(() => {
    const problem = checkConnection(options)
    if (problem !== undefined) return Effect.fail(problem)
    return Effect.flatMap(
      startExtensions(options.negotiated ?? [], options.maxMessageSize),
      (extensions) => makeScopedUnchecked(transport, options, extensions)
    )
  })

/** Makes a connection that is closed with its Scope, from options that were checked and extensions that were started. */
export const makeScopedUnchecked = (
  transport: Transport,
  options: Connection.MakeOptions,
  extensions: Extensions | undefined
): Effect.Effect<ConnectionImpl, never, Scope.Scope> =>
  Effect.uninterruptible(Effect.contextWith((context: Context.Context<Scope.Scope>) => {
    const connection = makeUnsafe(transport, options, options, context, extensions)
    const { closing } = connection
    // It retains nothing but the connection. The finalizer of `Effect.acquireRelease` would take a kilobyte.
    const finalizer = closing.closeOnExit.bind(closing)
    return Effect.as(Scope.addFinalizerExit(Context.get(context, Scope.Scope), finalizer), connection)
  }))
