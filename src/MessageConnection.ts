/**
 * The part of a connection that carries whole messages. `Connection` has it, and
 * so can the connection of another platform, such as a browser, or of a test:
 * code that is written against it runs over all of them.
 *
 * **Example** (An echo over any connection)
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import type { ConnectionError, MessageConnection } from "effect-ws"
 *
 * const echo = (
 *   connection: MessageConnection.MessageConnection
 * ): Effect.Effect<void, ConnectionError.ConnectionClosed> =>
 *   Stream.runForEach(connection.messages, (message) => connection.send(message))
 * ```
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { ConnectionClosed } from "./ConnectionError.ts"
import type { SendOptions } from "./Extension.ts"
import type * as Message from "./Message.ts"

/**
 * A connection that sends and receives whole messages.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface MessageConnection {
  /** The messages, in order. Ends when the connection ends normally (1000, 1001 or no code), and fails otherwise. */
  readonly messages: Stream.Stream<Message.Message, ConnectionClosed>
  /** Sends a message: a string as text, bytes as binary. Suspends while the connection has no room for it. */
  readonly send: (message: Message.Input, options?: SendOptions) => Effect.Effect<void, ConnectionClosed>
  /** Sends several messages, with no other message between them. */
  readonly sendAll: (
    messages: ReadonlyArray<Message.Input>,
    options?: SendOptions
  ) => Effect.Effect<void, ConnectionClosed>
  /** Waits for the end of the connection, and returns how it ended. */
  readonly closed: Effect.Effect<ConnectionClosed>
}
