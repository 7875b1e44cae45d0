/**
 * Optional operations of a connection, beyond its interface: faster ways for
 * `broadcast` and for sockets. They are found by registered symbols, so that a
 * connection of another copy of this package has them as well. A caller of one also
 * works with a connection that lacks it.
 */
import type * as Effect from "effect/Effect"
import type { ConnectionClosed } from "../../ConnectionError.ts"
import type { MessageConnection } from "../../MessageConnection.ts"
import type { RelayPort } from "./relayPort.ts"
import type { aboveMarkToken } from "./sendQueue.ts"
import type { SharedMessage } from "./sharedMessage.ts"

/** Ends all reads at once, before it is known how the connection ends. */
export const stopReceiving: unique symbol = Symbol.for("effect-ws/Connection/stopReceiving")

/** The operations that let a broadcast encode a message once for many connections. */
export const broadcastTarget: unique symbol = Symbol.for("effect-ws/Connection/broadcastTarget")

/** The version of HTTP of the handshake, for a caller that needs nothing else of it. */
export const httpVersion: unique symbol = Symbol.for("effect-ws/Connection/httpVersion")

/** What a relay needs of a connection, to pass on what arrives without joining or losing it. */
export const relayPort: unique symbol = Symbol.for("effect-ws/Connection/relayPort")

/** A connection that a broadcast writes encoded frames to. */
export interface BroadcastTarget {
  /** Whether the peer is a slow consumer: at least `maxBufferedAmount` bytes of broadcasts are buffered. */
  readonly isBehind: (maxBufferedAmount: number) => boolean
  /** Closes the connection with the cause `SlowConsumer`. */
  readonly closeSlowConsumer: () => void
  /** Counts messages that a broadcast did not send. */
  readonly skip: (messages: number) => void
  /** Whether a sender may write at once. */
  readonly isWritable: boolean
  /** Calls a listener once when `isWritable` has become true. It is not called if the connection ends before. */
  readonly onWritable: (listener: () => void) => void
  /** Writes messages as other connections do. Returns false if that is not possible at once. */
  readonly writeShared: (shared: SharedMessage, sender?: typeof aboveMarkToken | undefined) => boolean
  /**
   * Reserves the turn of the connection, and sends messages. Those that it must
   * encode for itself are sent once `ready` has succeeded.
   */
  readonly sendShared: (
    shared: SharedMessage,
    sender: typeof aboveMarkToken | undefined,
    ready: Effect.Effect<void>
  ) => Effect.Effect<void, ConnectionClosed>
}

export interface Hooks {
  readonly [stopReceiving]?: (() => void) | undefined
  readonly [broadcastTarget]?: BroadcastTarget | undefined
  readonly [relayPort]?: RelayPort | undefined
}

/** The optional operations of a connection, if it has any. */
export const hooksOf = (connection: MessageConnection & Hooks): Hooks => connection
