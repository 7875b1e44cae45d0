/**
 * A connection whose messages are values of a schema, in each direction one.
 *
 * **Example** (A chat, on the server's side)
 *
 * ```ts
 * import { Effect, Schema, Stream } from "effect"
 * import { Connection, TypedConnection } from "effect-ws"
 *
 * const Say = Schema.Struct({ text: Schema.String })
 * const Said = Schema.Struct({ by: Schema.String, text: Schema.String, at: Schema.Date })
 *
 * const handler = Effect.gen(function*() {
 *   const chat = TypedConnection.make(yield* Connection.Connection, { receives: Say, sends: Said })
 *   yield* Stream.runForEach(chat.messages, ({ text }) => chat.send({ by: "you", text, at: new Date(0) }))
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import type * as Stream from "effect/Stream"
import type { Connection } from "./Connection.ts"
import { type ConnectionClosed, InvalidInput, InvalidMessage, InvalidValue } from "./ConnectionError.ts"
import type { SendOptions } from "./Extension.ts"
import { ConnectionImpl } from "./internal/connection/connection.ts"
import { sendableOf } from "./internal/connection/input.ts"
import type * as Message from "./Message.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * A connection that receives values of one type and sends values of another.
 * All that is said of `Connection` about interruption holds here: a message is
 * decoded in the step that takes it, and the failure to decode one goes to
 * whoever took it.
 *
 * @category models
 * @since 0.1.0
 */
export interface TypedConnection<out In, in Out, out E = never> {
  /** The connection, for all that has nothing to do with messages: `close`, `closed`, `ping`, `request`. */
  readonly connection: Connection
  /** The next value. */
  readonly receive: Effect.Effect<In, ConnectionClosed | E>
  /**
   * The values, as `Connection.messages` has the messages. With `onInvalid:
   * "fail"` the stream fails at a message that cannot be decoded; whoever runs it
   * again goes on behind that.
   */
  readonly messages: Stream.Stream<In, ConnectionClosed | E>
  /** Sends a value. */
  readonly send: (value: Out, options?: SendOptions) => Effect.Effect<void, ConnectionClosed | InvalidValue>
  /** Sends many in one write, or none of them if there is one that cannot be sent. */
  readonly sendAll: (
    values: ReadonlyArray<Out>,
    options?: SendOptions
  ) => Effect.Effect<void, ConnectionClosed | InvalidValue>
}

/**
 * How values become messages, and the other way round.
 *
 * @category models
 * @since 0.1.0
 */
export interface Encoding {
  /** What stands between the schema's values and what is encoded. */
  readonly codec: <S extends Schema.Constraint>(schema: S) => Schema.Codec<S["Type"], unknown>
  /** Makes a message of an encoded value. What it throws is the `cause` of an `InvalidValue`. */
  readonly encode: (value: unknown) => string | Uint8Array
  /** Which messages it takes; others are invalid. */
  readonly accepts: Message.Message["_tag"]
  /** Reads a message. What it throws is the `cause` of an `InvalidMessage`. */
  readonly decode: (message: Message.Message) => unknown
}

/**
 * What a connection is to receive and to send. Schemas must be such that need no
 * services and no time.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<I extends Schema.Constraint, O extends Schema.Constraint> {
  readonly receives: I
  readonly sends: O
  /** How values become messages. Default `json`. */
  readonly encoding?: Encoding | undefined
  /**
   * What becomes of a message that is none of `receives`: "close" fails the
   * connection, with 1003 for a message of the wrong kind and 1007 otherwise, and
   * the `InvalidMessage` is the `cause` of how it ended; "fail" fails the
   * `receive` or the run of `messages` that took it, and the connection goes on.
   * Default "close": after it, the two ends do not understand each other.
   */
  readonly onInvalid?: "close" | "fail" | undefined
}

// -----------------------------------------------------------------------------
// Encodings
// -----------------------------------------------------------------------------

/**
 * Text messages in JSON. What JSON does not know, the schema's canonical JSON
 * form stands for: a Date is a string, bytes are base64, and so on.
 *
 * @category encodings
 * @since 0.1.0
 */
export const json: Encoding = {
  codec: (schema) => Schema.toCodecJson(schema) as unknown as Schema.Codec<unknown, unknown>,
  encode: (value) => {
    // Not always a string, whatever its type says.
    const encoded: string | undefined = JSON.stringify(value)
    if (encoded === undefined) throw new TypeError("JSON has nothing that stands for it")
    return encoded
  },
  accepts: "Text",
  decode: (message) => JSON.parse((message as Message.Text).text)
}

/**
 * Text messages, by functions of a library of your choice. They are given what
 * the schema encodes to.
 *
 * @category encodings
 * @since 0.1.0
 */
export const text = (functions: {
  readonly encode: (value: unknown) => string
  readonly decode: (text: string) => unknown
}): Encoding => ({
  codec: identityCodec,
  encode: functions.encode,
  accepts: "Text",
  decode: (message) => functions.decode((message as Message.Text).text)
})

/**
 * Binary messages, by functions of a library of your choice, such as one for
 * MessagePack or CBOR. They are given what the schema encodes to.
 *
 * **Example** (Effect's own binary codec)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { SchemaBinary } from "effect/encoding"
 * import { TypedConnection } from "effect-ws"
 * import type { Connection } from "effect-ws"
 *
 * const Position = SchemaBinary.toCodec(Schema.Struct({ x: Schema.Finite, y: Schema.Finite }))
 *
 * // The codec's bytes are views into what it uses again.
 * const bytes = TypedConnection.binary({
 *   encode: (value) => (value as Uint8Array).slice(),
 *   decode: (bytes) => bytes
 * })
 *
 * const positions = (connection: Connection.Connection) =>
 *   TypedConnection.make(connection, { receives: Position, sends: Position, encoding: bytes })
 * ```
 *
 * @category encodings
 * @since 0.1.0
 */
export const binary = (functions: {
  readonly encode: (value: unknown) => Uint8Array
  readonly decode: (bytes: Uint8Array) => unknown
}): Encoding => ({
  codec: identityCodec,
  encode: functions.encode,
  accepts: "Binary",
  decode: (message) => functions.decode(message.bytes)
})

const identityCodec = <S extends Schema.Constraint>(schema: S) => schema as unknown as Schema.Codec<S["Type"], unknown>

// -----------------------------------------------------------------------------
// Constructors
// -----------------------------------------------------------------------------

/**
 * A typed view of a connection, of either role. The connection stays what it
 * was, and is closed as it was; messages that are taken here are taken.
 *
 * **Example** (The client's side, which goes on after a message that it does not know)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { TypedConnection, WebSocketClient } from "effect-ws"
 *
 * const Tick = Schema.Struct({ symbol: Schema.String, price: Schema.Finite })
 *
 * const program = Effect.gen(function*() {
 *   const feed = TypedConnection.make(yield* WebSocketClient.connect("wss://example.com/feed"), {
 *     receives: Tick,
 *     sends: Schema.Struct({ subscribe: Schema.String }),
 *     onInvalid: "fail"
 *   })
 *   yield* feed.send({ subscribe: "EFCT" })
 *   yield* feed.receive.pipe(
 *     Effect.flatMap(({ price }) => Effect.log(price)),
 *     Effect.catchTag("InvalidMessage", (error) => Effect.logWarning(error.message)),
 *     Effect.forever
 *   )
 * }).pipe(Effect.scoped)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: {
  <I extends Schema.ConstraintDecoder<unknown>, O extends Schema.ConstraintEncoder<unknown>>(
    connection: Connection,
    options: Options<I, O> & { readonly onInvalid: "fail" }
  ): TypedConnection<I["Type"], O["Type"], InvalidMessage>
  <I extends Schema.ConstraintDecoder<unknown>, O extends Schema.ConstraintEncoder<unknown>>(
    connection: Connection,
    options: Options<I, O> & { readonly invalid?: "close" | undefined }
  ): TypedConnection<I["Type"], O["Type"]>
} = <I extends Schema.ConstraintDecoder<unknown>, O extends Schema.ConstraintEncoder<unknown>>(
  connection: Connection,
  { encoding = json, onInvalid = "close", receives, sends }: Options<I, O>
): TypedConnection<I["Type"], O["Type"], never> => {
  if (!(connection instanceof ConnectionImpl)) {
    throw new TypeError("TypedConnection needs a connection that effect-ws has made, not a copy of one")
  }
  const decode = decoderOf(receives, encoding)
  const encode = encoderOf(sends, encoding)
  const fatal = onInvalid === "close"
  return {
    connection,
    // Where it is fatal, an invalid message is the cause of the end.
    receive: connection.receiveDecoded(decode, fatal) as Effect.Effect<I["Type"], ConnectionClosed>,
    messages: connection.messagesDecoded(decode, fatal) as Stream.Stream<I["Type"], ConnectionClosed>,
    send: (value, options) =>
      Effect.suspend((): Effect.Effect<void, ConnectionClosed | InvalidValue> => {
        const encoded = encode(value)
        return Result.isSuccess(encoded) ? connection.send(encoded.success, options) : Effect.fail(encoded.failure)
      }),
    sendAll: (values, options) =>
      Effect.suspend((): Effect.Effect<void, ConnectionClosed | InvalidValue> => {
        const encoded = Result.all(values.map(encode))
        return Result.isSuccess(encoded) ? connection.sendAll(encoded.success, options) : Effect.fail(encoded.failure)
      })
  }
}

/**
 * Makes messages of values, as a `TypedConnection` with the same schema and
 * encoding sends them: for what many connections are sent, and is encoded once.
 *
 * **Example** (To everybody in a room)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Connection, TypedConnection } from "effect-ws"
 *
 * const encode = TypedConnection.encoder(Schema.Struct({ by: Schema.String, text: Schema.String }))
 *
 * const say = (room: Iterable<Connection.Connection>, by: string, text: string) =>
 *   Effect.flatMap(encode({ by, text }), (message) => Connection.broadcast(room, message, { slowConsumer: "close" }))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const encoder = <O extends Schema.ConstraintEncoder<unknown>>(
  sends: O,
  encoding: Encoding = json
): (value: O["Type"]) => Effect.Effect<string | Uint8Array, InvalidValue> => {
  const encode = encoderOf(sends, encoding)
  return (value) => Effect.suspend(() => Effect.fromResult(encode(value)))
}

const decoderOf = <S extends Schema.ConstraintDecoder<unknown>>(schema: S, encoding: Encoding) => {
  const decodeValue = Schema.decodeUnknownResult(encoding.codec(schema))
  return (received: Message.Message): Result.Result<S["Type"], InvalidMessage> => {
    const invalid = (reason: InvalidMessage["reason"], problem: string, cause: unknown) =>
      Result.fail(new InvalidMessage({ reason, problem, received, cause }))
    const { _tag } = received
    if (_tag !== encoding.accepts) {
      const problem = `Expected a ${encoding.accepts.toLowerCase()} message, got ${_tag.toLowerCase()}`
      return invalid("Type", problem, new Error(problem))
    }
    let value: unknown
    try {
      value = encoding.decode(received)
    } catch (cause) {
      // What the decoder says may quote the message.
      return invalid("Encoding", encoding === json ? "Expected valid JSON" : "Expected another encoding", cause)
    }
    const decoded = decodeValue(value)
    return Result.isSuccess(decoded)
      ? Result.succeed(decoded.success)
      : invalid("Value", problemOf(decoded.failure), decoded.failure)
  }
}

/** Where a value is not what the schema allows, and what would be, in words of the schema alone. */
const problemOf = ({ issue }: Schema.SchemaError): string => {
  const [{ message, path = [] }] = describe(issue).issues
  const at = path.map((key) => `[${typeof key === "symbol" ? String(key) : JSON.stringify(key)}]`).join("")
  return at === "" ? message : `${message} at ${at}`
}

const describe = SchemaIssue.makeFormatterStandardSchemaV1({
  leafHook: (issue) => {
    // Functions of a program may say what they were given.
    const { annotations } = issue as { readonly annotations?: { readonly expected?: unknown } | undefined }
    if (issue._tag === "InvalidValue" || SchemaIssue.hasInput(issue)) {
      return typeof annotations?.expected === "string" ? `Expected ${annotations.expected}` : "Expected another value"
    }
    return SchemaIssue.defaultLeafHook(issue)
  },
  checkHook: ({ filter: { annotations } }) => {
    if (typeof annotations?.message === "string") return annotations.message
    return typeof annotations?.expected === "string" ? `Expected ${annotations.expected}` : "Expected another value"
  }
})

const encoderOf = <S extends Schema.ConstraintEncoder<unknown>>(schema: S, encoding: Encoding) => {
  const encodeValue = Schema.encodeUnknownResult(encoding.codec(schema))
  return (value: S["Type"]): Result.Result<string | Uint8Array, InvalidValue> => {
    const encoded = encodeValue(value)
    if (Result.isFailure(encoded)) return Result.fail(new InvalidValue({ value, cause: encoded.failure }))
    try {
      const message = encoding.encode(encoded.success)
      const sendable = sendableOf(message)
      return sendable instanceof InvalidInput
        ? Result.fail(new InvalidValue({ value, cause: sendable }))
        : Result.succeed(message)
    } catch (cause) {
      return Result.fail(new InvalidValue({ value, cause }))
    }
  }
}
