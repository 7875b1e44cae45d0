/** A connection over a WebSocket object, such as that of a browser. It listens from the first moment, so that it loses nothing. */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import type { ConnectOptions, WebSocketEvents, WebSocketLike } from "../../BrowserClient.ts"
import * as CloseCode from "../../CloseCode.ts"
import {
  type ConnectionClosed,
  InvalidInput,
  type InvalidMessage,
  type KeepaliveTimeout,
  ReceiveQueueFull,
  type SlowConsumer,
  TransportError
} from "../../ConnectionError.ts"
import type * as Message from "../../Message.ts"
import type { MessageConnection } from "../../MessageConnection.ts"
import { MessageTooLarge } from "../../ProtocolError.ts"
import { checkClose, fitReason, isEmptyClose } from "../connection/closeRules.ts"
import { failInvalid, sendableOf, sendablesOf } from "../connection/input.ts"
import { Binary, Text } from "../protocol/message.ts"
import type { Timers } from "../runtime/timers.ts"
import { pageCode, pageCodes } from "./closeCodes.ts"
import { Closing } from "./closing.ts"
import { defaults } from "./options.ts"
import { Inbox } from "./inbox.ts"
import { Outbox } from "./outbox.ts"

export class BrowserConnection implements MessageConnection {
  /** Done when the socket is open, and failed with the error of the browser when it cannot be opened. */
  readonly opened = Deferred.makeUnsafe<void, Error>()
  readonly receive: MessageConnection["receive"]
  private readonly socket: WebSocketLike
  private readonly maxMessageSize: number
  private readonly inbox: Inbox
  private readonly outbox: Outbox
  private readonly closing: Closing
  /** The last error that the socket has reported. Browsers report none. */
  private error: Error | undefined
  /** The number of messages that have arrived. */
  private received = 0

  constructor(socket: WebSocketLike, timers: Timers, options: ConnectOptions) {
    socket.binaryType = "arraybuffer"
    this.socket = socket
    this.maxMessageSize = options.maxMessageSize ?? defaults.maxMessageSize
    this.inbox = new Inbox(options.maxUnreadAmount ?? defaults.maxUnreadAmount)
    this.outbox = new Outbox(
      socket,
      timers,
      options.outboundHighWaterMark ?? defaults.outboundHighWaterMark,
      (error) => this.onBroken(CloseCode.InternalError, error)
    )
    const closeTimeout = Duration.fromInputUnsafe(options.closeTimeout ?? defaults.closeTimeout)
    this.closing = new Closing(socket, timers, closeTimeout, (closed) => this.onEnded(closed))
    this.receive = this.inbox.readMessage(Effect.fail)
    socket.addEventListener("open", this.listeners.open)
    socket.addEventListener("message", this.listeners.message)
    socket.addEventListener("error", this.listeners.error)
    socket.addEventListener("close", this.listeners.close)
  }

  // -- events ------------------------------------------------------------------

  private readonly listeners: { readonly [T in keyof WebSocketEvents]: (event: WebSocketEvents[T]) => void } = {
    open: () => {
      Deferred.doneUnsafe(this.opened, Exit.void)
    },
    message: ({ data }) => this.onMessage(data),
    error: (event) => {
      if (event.error instanceof Error) this.error = event.error
    },
    close: (event) => {
      const error: Error = this.error ?? new Error(unknownFailure)
      if (Deferred.doneUnsafe(this.opened, Exit.fail(error))) this.ignoreEvents()
      else this.closing.onClose(event, this.error)
    }
  }

  /** Errors are still listened to: some WebSockets that are not of a browser throw them otherwise. */
  private ignoreEvents(): void {
    this.socket.removeEventListener("open", this.listeners.open)
    this.socket.removeEventListener("message", this.listeners.message)
    this.socket.removeEventListener("close", this.listeners.close)
  }

  private onMessage(data: unknown): void {
    this.received++
    const message = messageOf(data)
    if (message === undefined) {
      const problem = `expected a string or an ArrayBuffer, got ${Object.prototype.toString.call(data)}`
      return this.onBroken(CloseCode.UnsupportedData, new TypeError(problem))
    }
    const size = sizeInBytes(message, this.maxMessageSize)
    if (size > this.maxMessageSize) {
      const cause = new MessageTooLarge({ size, limit: this.maxMessageSize })
      this.closing.fail(closeFrame(CloseCode.MessageTooBig, cause._tag), cause)
    } else if (!this.inbox.push(message)) {
      const cause = new ReceiveQueueFull({ unreadAmount: this.inbox.unreadAmount, limit: this.inbox.limit })
      this.closing.fail(closeFrame(CloseCode.PolicyViolation, cause._tag), cause)
    }
  }

  /** The socket does not behave as the standard says. */
  private onBroken(code: number, error: Error): void {
    const cause = new TransportError({ code: undefined, cause: error })
    this.closing.fail(closeFrame(code, cause._tag), cause)
  }

  private onEnded(closed: ConnectionClosed): void {
    this.ignoreEvents()
    this.inbox.close(closed)
    this.outbox.close(closed)
  }

  /** Gives the socket up before it is open. */
  abandon(): void {
    this.ignoreEvents()
    this.socket.close(CloseCode.NormalClosure)
  }

  // -- receiving ---------------------------------------------------------------

  get subprotocol(): string | undefined {
    return this.socket.protocol === "" ? undefined : this.socket.protocol
  }

  get messages(): MessageConnection["messages"] {
    return Stream.fromPull(Effect.succeed(this.inbox.readMessages(endOfStream)))
  }

  readonly receiveWith: MessageConnection["receiveWith"] = (decode, onInvalid) =>
    this.inbox.readDecoded(decode, onInvalid, Effect.fail)

  readonly messagesWith: MessageConnection["messagesWith"] = (decode, onInvalid) =>
    Stream.fromPull(Effect.succeed(this.inbox.readAllDecoded(decode, onInvalid, endOfStream)))

  readonly discard: MessageConnection["discard"] = Effect.suspend(() => {
    this.inbox.discard()
    return this.closed
  })

  // -- sending -----------------------------------------------------------------

  readonly send: MessageConnection["send"] = (message) =>
    Effect.suspend(() => {
      const sendable = sendableOf(message)
      return sendable instanceof InvalidInput ? failInvalid(sendable) : this.outbox.send([sendable])
    })

  readonly sendAll: MessageConnection["sendAll"] = (messages) =>
    Effect.suspend(() => {
      const sendables = sendablesOf(messages)
      return sendables instanceof InvalidInput ? failInvalid(sendables) : this.outbox.send(sendables)
    })

  get writable(): MessageConnection["writable"] {
    return this.outbox.send([])
  }

  readonly bufferedAmount: MessageConnection["bufferedAmount"] = Effect.sync(() => this.socket.bufferedAmount)

  readonly activity: MessageConnection["activity"] = Effect.sync(() => ({ received: this.received, isPaused: false }))

  // -- the end -----------------------------------------------------------------

  readonly close: MessageConnection["close"] = (code = CloseCode.NormalClosure, reason = "") =>
    Effect.suspend((): ReturnType<MessageConnection["close"]> => {
      const problem = isEmptyClose(code, reason) ? undefined : checkClose(code, reason, pageCodes)
      if (problem instanceof InvalidInput) return failInvalid(problem)
      return problem === undefined ? this.closing.closeAndAwait({ code, reason }) : Effect.fail(problem)
    })

  readonly fail: MessageConnection["fail"] = (cause) =>
    Effect.sync(() => {
      const closed = this.closing.fail(failureFrame(cause), cause)
      return cause._tag === "InvalidMessage" ? this.inbox.fail(closed, cause) : closed
    })

  get closed(): MessageConnection["closed"] {
    return this.closing.ended.await
  }

  /** Closes the connection because its Scope is closed. */
  closeOnExit(exit: Exit.Exit<unknown, unknown>): Effect.Effect<ConnectionClosed> {
    const normal = Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause)
    return this.closing.closeAndAwait(closeFrame(normal ? CloseCode.NormalClosure : CloseCode.InternalError, ""))
  }
}

const unknownFailure =
  "a browser does not report why: the server may be unreachable, or may have rejected the handshake"

const messageOf = (data: unknown): Message.Message | undefined =>
  typeof data === "string"
    ? new Text(data)
    : Object.prototype.toString.call(data) === "[object ArrayBuffer]"
    ? new Binary(new Uint8Array(data as ArrayBuffer))
    : undefined

/** The size of a message in bytes, or its length if that is certainly below the limit: a character takes up to three bytes. */
const sizeInBytes = (message: Message.Message, limit: number): number =>
  message._tag === "Text" && message.text.length * 3 <= limit ? message.text.length : message.bytes.length

const closeFrame = (code: number, reason: string) => ({ code: pageCode(code), reason })

const failureFrame = (cause: InvalidMessage | SlowConsumer | KeepaliveTimeout) => {
  if (cause._tag === "InvalidMessage") return closeFrame(cause.closeCode, fitReason(cause.problem))
  return closeFrame(
    cause._tag === "SlowConsumer" ? CloseCode.PolicyViolation : CloseCode.InternalError,
    cause._tag
  )
}

/** Ends a stream if the connection ended normally, and fails it otherwise. */
const endOfStream = (closed: ConnectionClosed): Effect.Effect<never, ConnectionClosed | Cause.Done> =>
  closed.normal ? Cause.done() : Effect.fail(closed)
