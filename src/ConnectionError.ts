/**
 * How a connection ends, and why.
 *
 * ```text
 * ConnectionClosed        the one way in which every connection ends, cleanly or not
 * └─ cause                what cut it off, where no closing handshake ended it:
 *    ├─ any ProtocolError        the peer broke a rule
 *    ├─ TransportError           the network failed
 *    ├─ UnexpectedEof           the peer went without a close frame
 *    ├─ CloseTimeout             the peer did not finish the closing handshake in time
 *    ├─ KeepaliveTimeout         the peer did not answer a ping in time
 *    ├─ WriteTimeout             the peer took nothing of what waited for it
 *    ├─ IdleTimeout              no message was sent or received for too long
 *    ├─ InvalidMessage           a message is not what was agreed on
 *    ├─ MessageAborted           a message of several fragments could not be finished
 *    └─ SlowConsumer             the peer reads more slowly than it is sent to
 * InvalidMessage          the same, where it does not end the connection
 * NotConnected            a reconnecting client has no connection to send over
 * MessageSkipped          the rest of a message that was read in fragments was passed over
 * SendError               what was to be sent cannot be
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
 * Each has a `message` that says what happened and what to change.
 *
 * **Example** (Who ended it, and why)
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
import * as CloseCode from "./CloseCode.ts"
import type { CloseFrame, Opcode } from "./Frame.ts"
import type { ConnectError } from "./HandshakeError.ts"
import type { Message } from "./Message.ts"
import type { InvalidCloseCode, ProtocolError } from "./ProtocolError.ts"

// -----------------------------------------------------------------------------
// Causes
// -----------------------------------------------------------------------------

/**
 * The transport under a connection failed: a reset, a broken TLS record.
 *
 * @category causes
 * @since 0.1.0
 */
export class TransportError extends Data.TaggedError("TransportError")<{
  /** The system's name for it, such as ECONNRESET or EPIPE. */
  readonly code: string | undefined
  readonly cause: Error
}> {
  override get message(): string {
    return `the transport failed: ${this.cause.message || this.code}`
  }
}

/**
 * The peer ended the transport without a close frame: its process died, its
 * page was discarded, or a proxy in between gave up on an idle connection.
 *
 * @category causes
 * @since 0.1.0
 */
export class UnexpectedEof extends Data.TaggedError("UnexpectedEof")<{}> {
  override get message(): string {
    return "the peer ended the connection without a close frame"
  }
}

/**
 * The closing handshake was begun, but the peer did not finish it in time.
 *
 * @category causes
 * @since 0.1.0
 */
export class CloseTimeout extends Data.TaggedError("CloseTimeout")<{
  readonly duration: Duration.Duration
}> {
  override get message(): string {
    return `the peer did not finish the closing handshake within ${Duration.format(this.duration)}`
  }
}

/**
 * The peer sent nothing, not even a pong, for longer than the keepalive allows.
 *
 * @category causes
 * @since 0.1.0
 */
export class KeepaliveTimeout extends Data.TaggedError("KeepaliveTimeout")<{
  readonly duration: Duration.Duration
}> {
  override get message(): string {
    return `the peer sent nothing for ${Duration.format(this.duration)} after a keepalive ping`
  }
}

/**
 * Data waited for the peer, and for so long it took nothing of it.
 *
 * @category causes
 * @since 0.1.0
 */
export class WriteTimeout extends Data.TaggedError("WriteTimeout")<{
  /** What had not left this process yet, in bytes. */
  readonly bufferedAmount: number
  readonly duration: Duration.Duration
}> {
  override get message(): string {
    return `the peer took nothing for ${
      Duration.format(this.duration)
    } while ${this.bufferedAmount} bytes waited for it`
  }
}

/**
 * No message was sent or received for longer than `idleTimeout`.
 *
 * @category causes
 * @since 0.1.0
 */
export class IdleTimeout extends Data.TaggedError("IdleTimeout")<{
  readonly duration: Duration.Duration
}> {
  override get message(): string {
    return `no message was sent or received for ${Duration.format(this.duration)}`
  }
}

/**
 * A message that was being sent in fragments failed or was interrupted between
 * two of them. The protocol has no way to take back the ones that were sent, so
 * the connection had to be closed.
 *
 * @category causes
 * @since 0.1.0
 */
export class MessageAborted extends Data.TaggedError("MessageAborted")<{}> {
  override get message(): string {
    return "a message sent in fragments was given up after its first fragment"
  }
}

/**
 * The peer reads more slowly than it is sent to, and `slowConsumer: "close"`
 * says to close the connection then: a `send` found no room for
 * `slowConsumerTimeout`, or more than `maxBufferedAmount` of what was broadcast
 * waited for it.
 *
 * @category causes
 * @since 0.1.0
 */
export class SlowConsumer extends Data.TaggedError("SlowConsumer")<{
  /** What had not left this process yet, in bytes. */
  readonly bufferedAmount: number
}> {
  override get message(): string {
    return `the peer reads more slowly than it is sent to: ${this.bufferedAmount} bytes wait for it`
  }
}

/**
 * The peer sent a message that is not what a `TypedConnection` was to receive:
 * binary where it should be text or the other way round, text that is no JSON,
 * a value that the schema does not allow.
 *
 * @category causes
 * @since 0.1.0
 */
export class InvalidMessage extends Data.TaggedError("InvalidMessage")<{
  /** What was wrong: the kind of message, its encoding, or the value that was encoded. */
  readonly reason: "Type" | "Encoding" | "Value"
  /**
   * What was expected, and where, such as `Expected number at ["a"]`, without any
   * value that was received. If the connection is closed, it is the reason, as far
   * as a close frame has room for it.
   */
  readonly problem: string
  /** The message, as it came. */
  readonly received: Message
  /** What the decoder or the schema said. */
  readonly cause: unknown
}> {
  /**
   * The code that such a connection is closed with, where it is: 1003 for a kind
   * of message that this end does not accept, 1007 for one whose contents are not
   * what they should be (RFC 6455 §7.4.1).
   */
  get closeCode(): number {
    return this.reason === "Type" ? CloseCode.UnsupportedData : CloseCode.InvalidPayloadData
  }

  override get message(): string {
    return `the peer sent a message that is not what was agreed on: ${this.problem}`
  }
}

/**
 * What can cut a connection off.
 *
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

// -----------------------------------------------------------------------------
// The end
// -----------------------------------------------------------------------------

/**
 * How a connection ended: the close frame that came, the one that went, which
 * was first, and what cut the connection off if it was not these. It is the
 * value of `closed`, and the error of whatever cannot be done any more.
 *
 * @category models
 * @since 0.1.0
 */
export class ConnectionClosed extends Data.TaggedError("ConnectionClosed")<{
  /** The close frame that this end sent. */
  readonly sent: CloseFrame | undefined
  /** The close frame that the peer sent. */
  readonly received: CloseFrame | undefined
  /** Whose close frame was first; undefined where there was none. */
  readonly closedBy: "local" | "remote" | undefined
  /** What cut the connection off, or made this end close it. */
  readonly cause: ClosedCause | undefined
}> {
  constructor(
    end: Pick<ConnectionClosed, "sent" | "received" | "closedBy" | "cause">
  ) {
    // Every connection ends in one, and where it is made says nothing: a stack would cost more than all else here.
    const { stackTraceLimit } = Error
    Error.stackTraceLimit = 0
    super(end)
    Error.stackTraceLimit = stackTraceLimit
  }

  /** The code of the close frame that came first; 1006 where there was none. */
  get code(): number {
    return this.deciding?.code ?? CloseCode.AbnormalClosure
  }

  /** The reason in the close frame that came first; "" where there was none. */
  get reason(): string {
    return this.deciding?.reason ?? ""
  }

  /** Whether the closing handshake was completed: both ends sent a close frame. */
  get clean(): boolean {
    return this.sent !== undefined && this.received !== undefined && this.cause === undefined
  }

  /** Whether it ended as it was meant to: cleanly, with 1000, 1001, or no code. Streams end normally on such. */
  get normal(): boolean {
    return this.clean && CloseCode.isNormal(this.code)
  }

  override get message(): string {
    const code = `${this.code} (${CloseCode.nameOf(this.code)})`
    const reason = this.reason === "" ? "" : `, ${JSON.stringify(this.reason)}`
    const by = this.closedBy === "local" ? " by this end" : this.closedBy === "remote" ? " by the peer" : ""
    return `the connection was closed${by} with ${code}${reason}${
      this.cause === undefined ? "" : `: ${this.cause.message}`
    }`
  }

  private get deciding(): CloseFrame | undefined {
    return this.closedBy === "local" ? this.sent : this.received
  }
}

/**
 * A reconnecting client has no connection, and was not to wait for one or never
 * gets one again.
 *
 * @category send errors
 * @since 0.1.0
 */
export class NotConnected<E = never> extends Data.TaggedError("NotConnected")<{
  /** Whether it is for good: the client has given up, or its Scope is closed. */
  readonly final: boolean
  /** Why the last one was lost, or not to be had; undefined before that. */
  readonly cause: unknown
}> {
  declare readonly cause: ConnectError | ConnectionClosed | E | undefined

  override get message(): string {
    const why = this.cause instanceof Error ? `: ${this.cause.message}` : ""
    return `there is no connection${this.final ? ", and will be none" : " at the moment"}${why}`
  }
}

// -----------------------------------------------------------------------------
// Receiving
// -----------------------------------------------------------------------------

/**
 * The rest of a message that was being read in fragments is gone, because the
 * connection was asked for what comes after it.
 *
 * @category receive errors
 * @since 0.1.0
 */
export class MessageSkipped extends Data.TaggedError("MessageSkipped")<{}> {
  override get message(): string {
    return "the rest of this message was skipped: read its fragments to the end before you receive anything else"
  }
}

// -----------------------------------------------------------------------------
// Sending
// -----------------------------------------------------------------------------

/**
 * A ping, pong or close frame with more payload than a control frame may carry
 * (RFC 6455 §5.5).
 *
 * @category send errors
 * @since 0.1.0
 */
export class ControlPayloadTooLong extends Data.TaggedError("ControlPayloadTooLong")<{
  readonly opcode: Opcode
  readonly length: number
}> {
  override get message(): string {
    return `${nameOfOpcode(this.opcode)} frame: expected at most 125 bytes of payload, got ${this.length}`
  }
}

/**
 * As many pings wait for their pongs as may: the peer answers more slowly than
 * it is asked, or not at all. Nothing was sent.
 *
 * @category send errors
 * @since 0.1.0
 */
export class TooManyPings extends Data.TaggedError("TooManyPings")<{
  readonly limit: number
}> {
  override get message(): string {
    return `${this.limit} pings wait for their pongs; wait for one before the next, or no longer than makes sense, ` +
      "with Effect.timeout"
  }
}

/**
 * A close reason that takes more bytes than a close frame has room for (RFC
 * 6455 §5.5.1).
 *
 * @category send errors
 * @since 0.1.0
 */
export class CloseReasonTooLong extends Data.TaggedError("CloseReasonTooLong")<{
  readonly length: number
}> {
  override get message(): string {
    return `a close reason takes at most 123 bytes in UTF-8, not ${this.length}`
  }
}

/**
 * A fragment that does not fit the message being sent: a continuation of none,
 * a new message inside another, or text among binary.
 *
 * @category send errors
 * @since 0.1.0
 */
export class UnexpectedFragment extends Data.TaggedError("UnexpectedFragment")<{
  readonly problem: string
}> {
  override get message(): string {
    return `this fragment cannot be sent here: ${this.problem}`
  }
}

/**
 * A frame that breaks a rule of RFC 6455, so that every peer would fail the
 * connection. Nothing was sent.
 *
 * @category send errors
 * @since 0.1.0
 */
export class InvalidFrame extends Data.TaggedError("InvalidFrame")<{
  readonly opcode: Opcode
  /** The tag of the `ProtocolError` that the peer would see. */
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
 * A value that a `TypedConnection` cannot send, because its schema does not
 * allow it or its encoding cannot take it. Nothing was sent.
 *
 * @category send errors
 * @since 0.1.0
 */
export class InvalidValue extends Data.TaggedError("InvalidValue")<{
  readonly value: unknown
  /** What the encoder or the schema said. */
  readonly cause: unknown
}> {
  override get message(): string {
    const said = this.cause instanceof Error ? this.cause.message : String(this.cause)
    return `this value cannot be sent: ${said}`
  }
}

/**
 * A value that is nothing that can be sent: an array, a number, an ArrayBuffer
 * or a view of another type, or bytes whose buffer was transferred. Nothing was
 * sent, and the connection stays usable.
 *
 * The types of `send` and its kind do not mention it, because values of the
 * types do not lead to it; `Effect.catch` and `Effect.exit` see it.
 *
 * @category send errors
 * @since 0.1.0
 */
export class InvalidInput extends Data.TaggedError("InvalidInput")<{
  readonly what:
    | "message"
    | "messages"
    | "fragment"
    | "frame"
    | "ping payload"
    | "close code"
    | "close reason"
  readonly expected: string
  /** What the value is, in words. */
  readonly received: string
}> {
  override get message(): string {
    return `${this.what}: expected ${this.expected}, got ${this.received}; convert it before you send it`
  }
}

/**
 * Why something cannot be sent, other than that the connection is closed.
 *
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
