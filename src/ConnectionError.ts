/**
 * How connections end, and why something cannot be sent or received.
 *
 * ```text
 * ConnectionClosed        how a connection ended, cleanly or not
 * └─ cause                what cut it off, if the closing handshake did not end it:
 *    ├─ any ProtocolError        the peer broke a rule
 *    ├─ TransportError           the network failed
 *    ├─ UnexpectedEof            the peer ended the transport without a close frame
 *    ├─ CloseTimeout             the peer did not finish the closing handshake in time
 *    ├─ KeepaliveTimeout         the peer did not reply to a ping in time
 *    ├─ WriteTimeout             the peer accepted no data in time
 *    ├─ IdleTimeout              no message was sent or received in time
 *    ├─ InvalidMessage           a message cannot be decoded
 *    ├─ MessageAborted           a message in fragments was not completed
 *    ├─ SlowConsumer             the peer reads too slowly
 *    ├─ ReceiveQueueFull         this end reads too slowly, in a browser, which cannot hold the peer back
 *    └─ Terminated               this end ended the connection without a close frame
 * InvalidMessage          a message cannot be decoded, and the connection stays open
 * NotConnected            a reconnecting client has no connection
 * MessageSkipped          the rest of a message that was read in fragments was skipped
 * SendError               a value that cannot be sent
 * ├─ ControlPayloadTooLong
 * ├─ TooManyPings
 * ├─ InvalidCloseCode
 * ├─ CloseReasonTooLong
 * ├─ UnexpectedFragment
 * ├─ InvalidFrame
 * ├─ InvalidValue
 * └─ InvalidInput
 * ```
 *
 * The `message` of each says what happened and what to change.
 *
 * **Example** (Find out which end closed, and why)
 *
 * ```ts
 * import { Effect } from "effect"
 * import * as Testing from "effect-ws/Testing"
 *
 * const program = Effect.gen(function*() {
 *   const { client, link, server } = yield* Testing.makePair()
 *   yield* server.close(4001, "try elsewhere")
 *   const { clean, closedBy, code, reason } = yield* Effect.flip(client.receive)
 *   return `${closedBy} ${code} ${reason} ${clean}`
 * })
 *
 * await Effect.runPromise(Effect.scoped(program)) // => "remote 4001 try elsewhere true"
 * ```
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Predicate from "effect/Predicate"
import * as CloseCode from "./CloseCode.ts"
import type { CloseFrame, Opcode } from "./Frame.ts"
import type { ConnectError } from "./HandshakeError.ts"
import { reasonOf } from "./internal/runtime/describe.ts"
import type { Message } from "./Message.ts"
import type { InvalidCloseCode, ProtocolError } from "./ProtocolError.ts"

// -----------------------------------------------------------------------------
// Causes
// -----------------------------------------------------------------------------

/**
 * The transport under a connection failed: a reset, a broken TLS record.
 *
 * @stability unstable
 * @category causes
 * @since 0.1.0
 */
export class TransportError extends /* @__PURE__ */ Data.TaggedError("TransportError")<{
  /** The error code of the system, such as ECONNRESET or EPIPE. */
  readonly code: string | undefined
  readonly cause: Error
}> {
  override get message(): string {
    return `the transport failed: ${reasonOf(this.cause, this.code)}`
  }
}

/**
 * The peer ended the transport without a close frame: its process died, its
 * page was discarded, or a proxy closed an idle connection.
 *
 * @stability unstable
 * @category causes
 * @since 0.1.0
 */
export class UnexpectedEof extends /* @__PURE__ */ Data.TaggedError("UnexpectedEof")<{}> {
  override get message(): string {
    return "the peer ended the connection without a close frame"
  }
}

/**
 * The peer did not finish the closing handshake within `closeTimeout`.
 *
 * @stability unstable
 * @category causes
 * @since 0.1.0
 */
export class CloseTimeout extends /* @__PURE__ */ Data.TaggedError("CloseTimeout")<{
  readonly duration: Duration.Duration
}> {
  override get message(): string {
    return `the peer did not finish the closing handshake within ${Duration.format(this.duration)}`
  }
}

/**
 * The peer sent nothing, not even a pong or the reply to a heartbeat, for longer
 * than the keepalive or the heartbeat allows.
 *
 * @stability unstable
 * @category causes
 * @since 0.1.0
 */
export class KeepaliveTimeout extends /* @__PURE__ */ Data.TaggedError("KeepaliveTimeout")<{
  readonly duration: Duration.Duration
}> {
  override get message(): string {
    return `the peer sent nothing for ${Duration.format(this.duration)} after it was asked for a sign of life`
  }
}

/**
 * The peer accepted no data for `writeTimeout` while data was queued.
 *
 * @stability unstable
 * @category causes
 * @since 0.1.0
 */
export class WriteTimeout extends /* @__PURE__ */ Data.TaggedError("WriteTimeout")<{
  /** The bytes that had not left this process. */
  readonly bufferedAmount: number
  readonly duration: Duration.Duration
}> {
  override get message(): string {
    return `the peer accepted no data for ${
      Duration.format(this.duration)
    } while ${this.bufferedAmount} bytes were queued`
  }
}

/**
 * No message was sent or received for longer than `idleTimeout`.
 *
 * @stability unstable
 * @category causes
 * @since 0.1.0
 */
export class IdleTimeout extends /* @__PURE__ */ Data.TaggedError("IdleTimeout")<{
  readonly duration: Duration.Duration
}> {
  override get message(): string {
    return `no message was sent or received for ${Duration.format(this.duration)}`
  }
}

/**
 * Sending a message in fragments failed or was interrupted after its first
 * fragment. Fragments cannot be taken back, so the connection was closed.
 *
 * @stability unstable
 * @category causes
 * @since 0.1.0
 */
export class MessageAborted extends /* @__PURE__ */ Data.TaggedError("MessageAborted")<{}> {
  override get message(): string {
    return "a message in fragments failed or was interrupted after its first fragment"
  }
}

/**
 * The peer reads too slowly, and the connection is closed for that
 * (`slowConsumer: "close"`): a `send` has waited for `slowConsumerTimeout`, or
 * a broadcast found more than `maxBufferedAmount` bytes buffered.
 *
 * @stability unstable
 * @category causes
 * @since 0.1.0
 */
export class SlowConsumer extends /* @__PURE__ */ Data.TaggedError("SlowConsumer")<{
  /** The bytes that had not left this process. */
  readonly bufferedAmount: number
}> {
  override get message(): string {
    return `the peer reads too slowly: ${this.bufferedAmount} bytes are buffered`
  }
}

/**
 * This end reads too slowly: more than `maxUnreadAmount` was unread when another
 * message arrived. A browser cannot hold the peer back, so the connection fails
 * instead of growing. Messages before that one can still be received.
 *
 * @stability unstable
 * @category causes
 * @since 0.1.0
 */
export class ReceiveQueueFull extends /* @__PURE__ */ Data.TaggedError("ReceiveQueueFull")<{
  /** What was unread: bytes and characters, with an overhead of 64 for each message. */
  readonly unreadAmount: number
  readonly limit: number
}> {
  override get message(): string {
    return `receive queue: expected at most ${this.limit} bytes to be unread, got ${this.unreadAmount}; ` +
      "read the messages faster, have the peer send less, or raise maxUnreadAmount"
  }
}

/**
 * The peer sent a message that a `TypedConnection` cannot decode: binary
 * instead of text or the reverse, text that is not JSON, a value that does not
 * match the schema.
 *
 * @stability unstable
 * @category causes
 * @since 0.1.0
 */
export class InvalidMessage extends /* @__PURE__ */ Data.TaggedError("InvalidMessage")<{
  /** What is invalid: the kind of the message, its encoding, or the decoded value. */
  readonly reason: "Type" | "Encoding" | "Value"
  /**
   * What was expected and where, such as `Expected number at ["a"]`, without
   * received values. If the connection is closed, the close reason is as much
   * of it as a close frame can hold.
   */
  readonly problem: string
  /** The message as it was received. */
  readonly received: Message
  /** The error of the decoder or the schema. */
  readonly cause: unknown
}> {
  /**
   * The close code, if the connection is closed (RFC 6455 §7.4.1): 1003 for a
   * kind of message that this end does not accept, 1007 for contents that do
   * not match the expected type.
   */
  get closeCode(): number {
    return this.reason === "Type" ? CloseCode.UnsupportedData : CloseCode.InvalidPayloadData
  }

  override get message(): string {
    return `the peer sent an invalid message: ${this.problem}`
  }
}

/**
 * This end ended the connection without a close frame: a program called
 * `terminate`, or a relay passed on that the other connection was lost.
 *
 * @stability unstable
 * @category causes
 * @since 0.1.0
 */
export class Terminated extends /* @__PURE__ */ Data.TaggedError("Terminated")<{}> {
  override get message(): string {
    return "this end ended the connection without a close frame"
  }
}

/**
 * What can cut a connection off.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type ClosedCause =
  | ProtocolError
  | TransportError
  | UnexpectedEof
  | CloseTimeout
  | KeepaliveTimeout
  | WriteTimeout
  | IdleTimeout
  | InvalidMessage
  | MessageAborted
  | SlowConsumer
  | ReceiveQueueFull
  | Terminated

// -----------------------------------------------------------------------------
// The end
// -----------------------------------------------------------------------------

/**
 * How a connection ended: the close frames of both ends, which came first, and
 * what cut the connection off. It is the value of `closed`, and the error of
 * operations that need an open connection.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export class ConnectionClosed extends /* @__PURE__ */ Data.TaggedError("ConnectionClosed")<{
  /** The close frame of this end. */
  readonly sent: CloseFrame | undefined
  /** The close frame of the peer. */
  readonly received: CloseFrame | undefined
  /** Which end sent the first close frame; undefined without one. */
  readonly closedBy: "local" | "remote" | undefined
  /** The error that cut the connection off, or made this end close it. */
  readonly cause: ClosedCause | undefined
}> {
  constructor(
    end: Pick<ConnectionClosed, "sent" | "received" | "closedBy" | "cause">
  ) {
    // Every connection makes one. The place says nothing, and a stack would cost more than the rest.
    const { stackTraceLimit } = Error
    Error.stackTraceLimit = 0
    super(end)
    Error.stackTraceLimit = stackTraceLimit
  }

  /** The code of the first close frame; 1006 without one. */
  get code(): number {
    return this.deciding?.code ?? CloseCode.AbnormalClosure
  }

  /** The reason of the first close frame; "" without one. */
  get reason(): string {
    return this.deciding?.reason ?? ""
  }

  /**
   * Whether the closing handshake was completed: both ends sent a close frame,
   * and no error closed the connection.
   */
  get clean(): boolean {
    return this.sent !== undefined && this.received !== undefined && this.cause === undefined
  }

  /**
   * Whether the connection ended cleanly with 1000, 1001 or no code. Streams of
   * messages end without an error then.
   */
  get normal(): boolean {
    return this.clean && CloseCode.isNormal(this.code)
  }

  override get message(): string {
    const { cause, closedBy, code, deciding, reason } = this
    if (cause?._tag === "Terminated" && deciding === undefined) return "the connection was terminated by this end"
    if (deciding === undefined) return `the connection was lost${cause === undefined ? "" : `: ${cause.message}`}`
    const by = closedBy === "local" ? "this end" : "the peer"
    const closed = `the connection was closed by ${by} ${
      code === CloseCode.NoStatusReceived ? "without a close code" : `with ${code} (${CloseCode.nameOf(code)})`
    }`
    const quoted = reason === "" ? "" : `, ${JSON.stringify(reason)}`
    if (cause === undefined) return closed + quoted
    // Otherwise, the reason that this end has sent is short for the cause.
    return isLoss(cause) ? `${closed}${quoted}, but ${cause.message}` : `${closed}: ${cause.message}`
  }

  private get deciding(): CloseFrame | undefined {
    return this.closedBy === "local" ? this.sent : this.received
  }
}

/** Whether a cause is not one for which this end sends a close frame: it ends a connection that is closing as well. */
const isLoss = ({ _tag }: ClosedCause): boolean =>
  _tag === "TransportError" || _tag === "UnexpectedEof" || _tag === "CloseTimeout" || _tag === "KeepaliveTimeout" ||
  _tag === "WriteTimeout" || _tag === "Terminated"

/**
 * Whether a value is a `ConnectionClosed`, of any copy of this package.
 *
 * @stability unstable
 * @category guards
 * @since 0.1.0
 */
export const isConnectionClosed = (value: unknown): value is ConnectionClosed =>
  Predicate.isTagged(value, "ConnectionClosed") && value instanceof Error

/**
 * A reconnecting client has no connection, and does not wait for one
 * (`whileDisconnected`), or has stopped reconnecting.
 *
 * @stability unstable
 * @category send errors
 * @since 0.1.0
 */
export class NotConnected<E = never> extends /* @__PURE__ */ Data.TaggedError("NotConnected")<{
  /** Whether the client has stopped reconnecting, because it has given up or its Scope is closed. */
  readonly final: boolean
  /** Why the last connection was lost or the last attempt failed; undefined before the first attempt. */
  readonly cause: unknown
}> {
  declare readonly cause: ConnectError | ConnectionClosed | E | undefined

  override get message(): string {
    const why = this.cause === undefined ? "" : `: ${reasonOf(this.cause)}`
    return `not connected${this.final ? ", and the client has stopped reconnecting" : " at the moment"}${why}`
  }
}

// -----------------------------------------------------------------------------
// Receiving
// -----------------------------------------------------------------------------

/**
 * The rest of a message that was read in fragments was skipped, because the
 * program received the next message or frame.
 *
 * @stability unstable
 * @category receive errors
 * @since 0.1.0
 */
export class MessageSkipped extends /* @__PURE__ */ Data.TaggedError("MessageSkipped")<{}> {
  override get message(): string {
    return "the rest of this message was skipped; read all its fragments before you receive anything else"
  }
}

// -----------------------------------------------------------------------------
// Sending
// -----------------------------------------------------------------------------

/**
 * A control frame has more payload than RFC 6455 §5.5 allows.
 *
 * @stability unstable
 * @category send errors
 * @since 0.1.0
 */
export class ControlPayloadTooLong extends /* @__PURE__ */ Data.TaggedError("ControlPayloadTooLong")<{
  readonly opcode: Opcode
  readonly length: number
}> {
  override get message(): string {
    return `${nameOfOpcode(this.opcode)} frame: expected at most 125 bytes of payload, got ${this.length}`
  }
}

/**
 * `maxUnansweredPings` pings await their pongs: the peer replies too slowly, or
 * not at all. Nothing was sent.
 *
 * @stability unstable
 * @category send errors
 * @since 0.1.0
 */
export class TooManyPings extends /* @__PURE__ */ Data.TaggedError("TooManyPings")<{
  readonly limit: number
}> {
  override get message(): string {
    return `expected at most ${this.limit} pings to await pongs, got one more; await each ping, or bound it with Effect.timeout`
  }
}

/**
 * A close reason is longer than a close frame can hold (RFC 6455 §5.5.1).
 *
 * @stability unstable
 * @category send errors
 * @since 0.1.0
 */
export class CloseReasonTooLong extends /* @__PURE__ */ Data.TaggedError("CloseReasonTooLong")<{
  readonly length: number
}> {
  override get message(): string {
    return `close reason: expected at most 123 bytes of UTF-8, got ${this.length}`
  }
}

/**
 * A fragment does not fit the message that is being sent: a continuation
 * outside a message, a new message inside another one, or text among binary.
 *
 * @stability unstable
 * @category send errors
 * @since 0.1.0
 */
export class UnexpectedFragment extends /* @__PURE__ */ Data.TaggedError("UnexpectedFragment")<{
  readonly problem: string
}> {
  override get message(): string {
    return `fragment: ${this.problem}`
  }
}

/**
 * A frame breaks a rule of RFC 6455, for which every peer would fail the
 * connection. Nothing was sent.
 *
 * @stability unstable
 * @category send errors
 * @since 0.1.0
 */
export class InvalidFrame extends /* @__PURE__ */ Data.TaggedError("InvalidFrame")<{
  readonly opcode: Opcode
  /** The tag of the `ProtocolError` at the peer. */
  readonly rule: "ReservedBits" | "FragmentedControlFrame" | "CloseFrameTooShort" | "InvalidUtf8"
}> {
  override get message(): string {
    return `${nameOfOpcode(this.opcode)} frame: expected ${requirements[this.rule]}`
  }
}

const requirements: Readonly<Record<InvalidFrame["rule"], string>> = {
  ReservedBits: "reserved to be 0, got other bits; extensions set theirs when the frame is encoded",
  FragmentedControlFrame: "fin to be true, got false; control frames are not fragmented",
  CloseFrameTooShort: "an empty payload or a code of two bytes, got one byte",
  InvalidUtf8: "a reason in UTF-8, got other bytes"
}

const nameOfOpcode = (opcode: Opcode): string =>
  ({ 0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong" })[opcode]

/**
 * A `TypedConnection` cannot encode a value: it does not match the schema, or
 * its encoding cannot represent it. Nothing was sent.
 *
 * @stability unstable
 * @category send errors
 * @since 0.1.0
 */
export class InvalidValue extends /* @__PURE__ */ Data.TaggedError("InvalidValue")<{
  readonly value: unknown
  /** The error of the encoder or the schema. */
  readonly cause: unknown
}> {
  override get message(): string {
    return `the value cannot be sent: ${reasonOf(this.cause).replace(/\s*\n\s*/g, " ")}`
  }
}

/**
 * A value cannot be sent: an array, a number, an ArrayBuffer, a view of another
 * type, or bytes with a detached buffer. Nothing was sent, and the connection
 * stays usable.
 *
 * The types of `send` and the other functions do not include it, because values
 * of their parameter types do not lead to it. `Effect.catch` and `Effect.exit`
 * see it.
 *
 * @stability unstable
 * @category send errors
 * @since 0.1.0
 */
export class InvalidInput extends /* @__PURE__ */ Data.TaggedError("InvalidInput")<{
  readonly what:
    | "message"
    | "messages"
    | "fragment"
    | "frame"
    | "ping payload"
    | "close code"
    | "close reason"
  readonly expected: string
  /** A description of the value. */
  readonly received: string
}> {
  override get message(): string {
    return `${this.what}: expected ${this.expected}, got ${this.received}; convert it before you send it`
  }
}

/**
 * Why a value cannot be sent on an open connection.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type SendError =
  | ControlPayloadTooLong
  | TooManyPings
  | InvalidCloseCode
  | CloseReasonTooLong
  | UnexpectedFragment
  | InvalidFrame
  | InvalidValue
  | InvalidInput
