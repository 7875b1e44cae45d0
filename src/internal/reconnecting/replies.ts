/** A connection without the replies to its heartbeat. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { ConnectionClosed } from "../../ConnectionError.ts"
import type * as Message from "../../Message.ts"
import type { MessageConnection } from "../../MessageConnection.ts"

/** What stands for a reply between the connection and the program. */
const reply = Symbol("reply")

const isNoReply = <A>(value: A | typeof reply): value is A => value !== reply

/** The members that read. */
export type Readable = Pick<MessageConnection, "receive" | "receiveWith" | "messages" | "messagesWith">

/** Returns the connection, with reading members that skip replies. */
export const hideReplies = (
  connection: MessageConnection,
  isReply: ((message: Message.Message) => boolean) | undefined
): MessageConnection =>
  isReply === undefined ? connection : {
    ...readWithoutReplies(connection, isReply),
    subprotocol: connection.subprotocol,
    discard: connection.discard,
    writable: connection.writable,
    send: (message, options) => connection.send(message, options),
    sendAll: (messages, options) => connection.sendAll(messages, options),
    bufferedAmount: connection.bufferedAmount,
    activity: connection.activity,
    close: (code, reason) => connection.close(code, reason),
    fail: (cause) => connection.fail(cause),
    closed: connection.closed
  }

export const readWithoutReplies = (
  connection: Readable,
  isReply: (message: Message.Message) => boolean
): Readable => {
  const receiveWith: MessageConnection["receiveWith"] = <A, E, E2>(
    decode: (message: Message.Message) => Result.Result<A, E>,
    onInvalid: (error: E) => Effect.Effect<never, E2>
  ) => {
    // A reply is removed as an invalid message is, in the step that goes on with the next one.
    const receive: Effect.Effect<A, ConnectionClosed | E2> = connection.receiveWith(
      (message): Result.Result<A, E | typeof reply> => isReply(message) ? Result.fail(reply) : decode(message),
      (error): Effect.Effect<never, ConnectionClosed | E2> =>
        isNoReply(error) ? onInvalid(error) : receive as Effect.Effect<never, ConnectionClosed | E2>
    )
    return receive
  }
  return {
    receive: receiveWith(Result.succeed, Effect.fail),
    receiveWith,
    messages: Stream.filter(connection.messages, (message) => !isReply(message)),
    messagesWith: <A, E, E2>(
      decode: (message: Message.Message) => Result.Result<A, E>,
      onInvalid: (error: E) => Effect.Effect<never, E2>
    ) =>
      Stream.filter(
        connection.messagesWith(
          (message): Result.Result<A | typeof reply, E> => isReply(message) ? Result.succeed(reply) : decode(message),
          onInvalid
        ),
        isNoReply
      )
  }
}
