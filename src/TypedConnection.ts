/**
 * A connection that sends and receives the values of schemas, one schema for each
 * direction.
 *
 * **Example** (The server of a chat)
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
import { dual } from "effect/Function"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import type * as Stream from "effect/Stream"
import type { Connection } from "./Connection.ts"
import {
  type ConnectionClosed,
  InvalidInput,
  InvalidMessage,
  InvalidValue,
  type NotConnected
} from "./ConnectionError.ts"
import type { SendOptions } from "./Extension.ts"
import { sendableOf } from "./internal/connection/input.ts"
import { assertMessageConnection } from "./internal/connection/members.ts"
import * as Message from "./Message.ts"
import type { MessageConnection } from "./MessageConnection.ts"
import type { Failure, Reconnecting } from "./Reconnecting.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * A connection that receives values of one type and sends values of another.
 * As with `Connection`, an interrupted `receive` removes no message: each message
 * is decoded in the step that removes it, and the fiber that removes an invalid
 * message gets its error.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface TypedConnection<out In, in Out, out E = never, out C extends MessageConnection = Connection> {
  /** The connection, for its other operations: `close`, `closed`, `ping`, `request`. */
  readonly connection: C
  /** Receives the next value. */
  readonly receive: Effect.Effect<In, ConnectionClosed | E>
  /**
   * The values, batched like `Connection.messages`. With `onInvalid: "fail"` the
   * stream fails at an invalid message; the next run begins behind it.
   */
  readonly messages: Stream.Stream<In, ConnectionClosed | E>
  /** Sends a value. */
  readonly send: (value: Out, options?: SendOptions) => Effect.Effect<void, ConnectionClosed | InvalidValue>
  /** Sends several values in one write. If one of them cannot be encoded, sends none. */
  readonly sendAll: (
    values: ReadonlyArray<Out>,
    options?: SendOptions
  ) => Effect.Effect<void, ConnectionClosed | InvalidValue>
}

/**
 * A reconnecting client that receives values of one type and sends values of
 * another. `E` is the errors of the program's own effects, as with `Reconnecting`,
 * and `E2` is `InvalidMessage` with `onInvalid: "fail"`.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface TypedReconnecting<out In, in Out, E = never, out E2 = never, C = Connection> {
  /** The client, for its other operations: `state`, `reconnected`, `connection`. */
  readonly client: Reconnecting<E, C>
  /** Receives the next value. Fails with `NotConnected` once the client is closed, and all values are read. */
  readonly receive: Effect.Effect<In, NotConnected<E> | E2>
  /**
   * The values of all connections, one connection after the other, as those of
   * `Reconnecting.messages`. With `onInvalid: "fail"` the stream fails at an invalid
   * message; the next run begins behind it.
   */
  readonly messages: Stream.Stream<In, Failure<E> | E2>
  /** Sends a value. `whileDisconnected` of the client decides what happens while it is not connected. */
  readonly send: (value: Out, options?: SendOptions) => Effect.Effect<void, NotConnected<E> | InvalidValue>
  /** Sends several values in one write. If one of them cannot be encoded, sends none. */
  readonly sendAll: (
    values: ReadonlyArray<Out>,
    options?: SendOptions
  ) => Effect.Effect<void, NotConnected<E> | InvalidValue>
  /** Waits until the client is closed, as `closed` of the client does. */
  readonly closed: Effect.Effect<void, Failure<E>>
}

/**
 * Converts values to messages, and messages to values.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Encoding {
  /** Returns the codec between the values of a schema and what is encoded. */
  readonly codec: <S extends Schema.Constraint>(schema: S) => Schema.Codec<S["Type"], unknown>
  /** Encodes a value as a message. If it throws, sending fails with `InvalidValue`, with the error as `cause`. */
  readonly encode: (value: unknown) => string | Uint8Array
  /** The kind of message that `decode` accepts. A message of the other kind is invalid. */
  readonly accepts: Message.Message["_tag"]
  /** Decodes a message. If it throws, the message is an `InvalidMessage`, with the error as `cause`. */
  readonly decode: (message: Message.Message) => unknown
}

/**
 * Options of `make`. The schemas must need no services, and decode synchronously.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface Options<I extends Schema.Constraint, O extends Schema.Constraint> {
  /** The schema of received values. */
  readonly receives: I
  /** The schema of sent values. */
  readonly sends: O
  /** Converts values to messages. Default `json`. */
  readonly encoding?: Encoding | undefined
  /**
   * What to do with an invalid message. "close" fails the connection, with 1003
   * for a message of the wrong kind and 1007 otherwise; the `InvalidMessage` is the
   * `cause` of the `ConnectionClosed`. "fail" fails the `receive`, or the run of
   * `messages`, that removed it, and the connection stays open. Default "close",
   * because the two ends no longer understand each other.
   */
  readonly onInvalid?: "close" | "fail" | undefined
}

// -----------------------------------------------------------------------------
// Encodings
// -----------------------------------------------------------------------------

/**
 * Text messages in JSON. Values that JSON lacks are in the schema's canonical JSON
 * form: a Date is a string, bytes are base64, and so on.
 *
 * @stability unstable
 * @category encodings
 * @since 0.1.0
 */
export const json: Encoding = {
  codec: (schema) => Schema.toCodecJson(schema) as unknown as Schema.Codec<unknown, unknown>,
  encode: (value) => {
    // The type does not say that it may be undefined.
    const encoded: string | undefined = JSON.stringify(value)
    if (encoded === undefined) throw new TypeError("JSON.stringify returned undefined for this value")
    return encoded
  },
  accepts: "Text",
  decode: (message) => JSON.parse(Message.toText(message))
}

/**
 * Text messages, with the functions of another library. They encode and decode
 * the values that the schema encodes to.
 *
 * @stability unstable
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
  decode: (message) => functions.decode(Message.toText(message))
})

/**
 * Binary messages, with the functions of another library, such as one for
 * MessagePack or CBOR. They encode and decode the values that the schema encodes to.
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
 * // The codec reuses the buffer that its bytes are in.
 * const bytes = TypedConnection.binary({
 *   encode: (value) => (value as Uint8Array).slice(),
 *   decode: (bytes) => bytes
 * })
 *
 * const positions = (connection: Connection.Connection) =>
 *   TypedConnection.make(connection, { receives: Position, sends: Position, encoding: bytes })
 * ```
 *
 * @stability unstable
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
 * Returns a typed view of a connection, of either role and of any implementation: a
 * `Connection`, also one of `Connection.decorate`, or a `MessageConnection`, such as
 * that of a browser. The connection has one queue of messages, which both it and the
 * view read from. Throws a TypeError if the value is not a connection.
 *
 * **Example** (A client that ignores invalid messages)
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
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export function make<
  C extends MessageConnection,
  I extends Schema.ConstraintDecoder<unknown>,
  O extends Schema.ConstraintEncoder<unknown>
>(
  connection: C,
  options: Options<I, O> & { readonly onInvalid?: "close" | undefined }
): TypedConnection<I["Type"], O["Type"], never, C>
export function make<
  C extends MessageConnection,
  I extends Schema.ConstraintDecoder<unknown>,
  O extends Schema.ConstraintEncoder<unknown>
>(connection: C, options: Options<I, O>): TypedConnection<I["Type"], O["Type"], InvalidMessage, C>
export function make<
  C extends MessageConnection,
  I extends Schema.ConstraintDecoder<unknown>,
  O extends Schema.ConstraintEncoder<unknown>
>(connection: C, options: Options<I, O>): TypedConnection<I["Type"], O["Type"], InvalidMessage, C> {
  assertMessageConnection(connection)
  const decode = decoderOf(options.receives, options.encoding)
  const onInvalid = actOn(options.onInvalid)
  return {
    connection,
    receive: connection.receiveWith(decode, (error) => onInvalid(error, connection)),
    messages: connection.messagesWith(decode, (error) => onInvalid(error, connection)),
    ...makeSender(options, connection)
  }
}

/**
 * Returns a typed view of a reconnecting client, on Node and in browsers. With
 * `onInvalid: "close"`, an invalid message fails the connection that it came from;
 * as with any lost connection, the client connects again unless its `isFinal`
 * decides otherwise.
 *
 * In `onOpen`, use `make` with the same schemas.
 *
 * **Example** (A typed feed that outlives its connections)
 *
 * ```ts
 * import { Effect, Schema, Stream } from "effect"
 * import { TypedConnection, WebSocketClient } from "effect-ws"
 *
 * const protocol = {
 *   receives: Schema.Struct({ symbol: Schema.String, price: Schema.Finite }),
 *   sends: Schema.Struct({ subscribe: Schema.String })
 * }
 *
 * const program = Effect.gen(function*() {
 *   const feed = yield* WebSocketClient.reconnecting("wss://example.com/feed", {
 *     onOpen: (connection) => TypedConnection.make(connection, protocol).send({ subscribe: "EFCT" })
 *   }).pipe(Effect.map(TypedConnection.makeReconnecting(protocol)))
 *   yield* Stream.runForEach(feed.messages, ({ price, symbol }) => Effect.log(symbol, price))
 * }).pipe(Effect.scoped)
 * ```
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const makeReconnecting: {
  <I extends Schema.ConstraintDecoder<unknown>, O extends Schema.ConstraintEncoder<unknown>>(
    options: Options<I, O> & { readonly onInvalid?: "close" | undefined }
  ): <E, C extends MessageConnection>(
    client: Reconnecting<E, C>
  ) => TypedReconnecting<I["Type"], O["Type"], E, never, C>
  <I extends Schema.ConstraintDecoder<unknown>, O extends Schema.ConstraintEncoder<unknown>>(
    options: Options<I, O>
  ): <E, C extends MessageConnection>(
    client: Reconnecting<E, C>
  ) => TypedReconnecting<I["Type"], O["Type"], E, InvalidMessage, C>
  <
    E,
    C extends MessageConnection,
    I extends Schema.ConstraintDecoder<unknown>,
    O extends Schema.ConstraintEncoder<unknown>
  >(
    client: Reconnecting<E, C>,
    options: Options<I, O> & { readonly onInvalid?: "close" | undefined }
  ): TypedReconnecting<I["Type"], O["Type"], E, never, C>
  <
    E,
    C extends MessageConnection,
    I extends Schema.ConstraintDecoder<unknown>,
    O extends Schema.ConstraintEncoder<unknown>
  >(client: Reconnecting<E, C>, options: Options<I, O>): TypedReconnecting<I["Type"], O["Type"], E, InvalidMessage, C>
} = dual(
  2,
  <
    E,
    C extends MessageConnection,
    I extends Schema.ConstraintDecoder<unknown>,
    O extends Schema.ConstraintEncoder<unknown>
  >(
    client: Reconnecting<E, C>,
    options: Options<I, O>
  ): TypedReconnecting<I["Type"], O["Type"], E, InvalidMessage, C> => {
    const decode = decoderOf(options.receives, options.encoding)
    const onInvalid = actOn(options.onInvalid)
    return {
      client,
      receive: client.receiveWith(decode, onInvalid),
      messages: client.messagesWith(decode, onInvalid),
      ...makeSender(options, client),
      closed: client.closed
    }
  }
)

/** What happens in the step that removes an invalid message. */
const actOn = (onInvalid: "close" | "fail" | undefined) =>
(
  error: InvalidMessage,
  connection: Pick<MessageConnection, "fail">
): Effect.Effect<never, ConnectionClosed | InvalidMessage> =>
  onInvalid === "fail" ? Effect.fail(error) : Effect.flatMap(connection.fail(error), Effect.fail)

/** What a connection and a reconnecting client send messages with. */
interface MessageSender<E> {
  readonly send: (message: Message.Input, options?: SendOptions) => Effect.Effect<void, E>
  readonly sendAll: (messages: ReadonlyArray<Message.Input>, options?: SendOptions) => Effect.Effect<void, E>
}

const makeSender = <O extends Schema.ConstraintEncoder<unknown>, E>(
  { encoding, sends }: Pick<Options<Schema.Constraint, O>, "encoding" | "sends">,
  sender: MessageSender<E>
) => {
  const encode = encoderOf(sends, encoding)
  return {
    send: (value: O["Type"], options?: SendOptions) =>
      Effect.suspend((): Effect.Effect<void, E | InvalidValue> => {
        const encoded = encode(value)
        return Result.isSuccess(encoded) ? sender.send(encoded.success, options) : Effect.fail(encoded.failure)
      }),
    sendAll: (values: ReadonlyArray<O["Type"]>, options?: SendOptions) =>
      Effect.suspend((): Effect.Effect<void, E | InvalidValue> => {
        const encoded = Result.all(values.map(encode))
        return Result.isSuccess(encoded) ? sender.sendAll(encoded.success, options) : Effect.fail(encoded.failure)
      })
  }
}

/**
 * Returns a function that encodes values as a `TypedConnection` with the same
 * schema and encoding sends them. Use it with `broadcast`, to encode a value once
 * for many connections.
 *
 * **Example** (A message to all connections in a room)
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
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const encoder = <O extends Schema.ConstraintEncoder<unknown>>(
  sends: O,
  encoding?: Encoding
): (value: O["Type"]) => Effect.Effect<string | Uint8Array, InvalidValue> => {
  const encode = encoderOf(sends, encoding)
  return (value) => Effect.suspend(() => Effect.fromResult(encode(value)))
}

/**
 * Returns a function that decodes messages as a `TypedConnection` with the same
 * schema and encoding receives them. Use it where messages do not come from a
 * connection, or where a program needs both the message and its value.
 *
 * **Example** (Decode one message)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Message, TypedConnection } from "effect-ws"
 *
 * const decode = TypedConnection.decoder(Schema.Struct({ pong: Schema.Finite }))
 * const message = Message.text(new TextEncoder().encode(`{"pong":1}`))
 *
 * await Effect.runPromise(decode(message)) // => { pong: 1 }
 * ```
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const decoder = <I extends Schema.ConstraintDecoder<unknown>>(
  receives: I,
  encoding?: Encoding
): (message: Message.Message) => Effect.Effect<I["Type"], InvalidMessage> => {
  const decode = decoderOf(receives, encoding)
  return (message) => Effect.suspend(() => Effect.fromResult(decode(message)))
}

const decoderOf = <S extends Schema.ConstraintDecoder<unknown>>(schema: S, encoding: Encoding = json) => {
  const decodeValue = Schema.decodeUnknownResult(encoding.codec(schema))
  return (received: Message.Message): Result.Result<S["Type"], InvalidMessage> => {
    const { _tag } = received
    if (_tag !== encoding.accepts) {
      const problem = `Expected a ${encoding.accepts.toLowerCase()} message, got ${_tag.toLowerCase()}`
      return invalid(received, "Type", problem, new Error(problem))
    }
    let value: unknown
    try {
      value = encoding.decode(received)
    } catch (cause) {
      // What the decoder says may quote the message.
      return invalid(
        received,
        "Encoding",
        encoding === json ? "Expected valid JSON" : "Expected another encoding",
        cause
      )
    }
    const decoded = decodeValue(value)
    return Result.isSuccess(decoded)
      ? decoded as Result.Success<S["Type"], never>
      : invalid(received, "Value", problemOf(decoded.failure), decoded.failure)
  }
}

const invalid = (
  received: Message.Message,
  reason: InvalidMessage["reason"],
  problem: string,
  cause: unknown
): Result.Result<never, InvalidMessage> => Result.fail(new InvalidMessage({ reason, problem, received, cause }))

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

const encoderOf = <S extends Schema.ConstraintEncoder<unknown>>(schema: S, encoding: Encoding = json) => {
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
