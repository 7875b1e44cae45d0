/** What the two codecs of the client protocol have in common. They are pure, and do not throw. */
import type * as Result from "effect/Result"
import type { Message } from "../../Message.ts"
import type { MessageType, ValueOf } from "./schema.ts"

/** Bounds of one WebSocket message, checked before its parts are decoded. */
export interface Bounds {
  /** The maximum size of one command or reply, in bytes. */
  readonly maxSize: number
  /** The maximum number of commands or replies. */
  readonly maxCount: number
}

/** Why a WebSocket message is not a batch of commands or replies. */
export class Malformed {
  readonly reason: "Syntax" | "TooLarge" | "TooMany"

  constructor(reason: Malformed["reason"]) {
    this.reason = reason
  }
}

export interface Codec {
  readonly name: "json" | "protobuf"
  /** The WebSocket subprotocol that selects this codec. */
  readonly subprotocol: string | undefined
  /** Decodes the values in a WebSocket message: at least one. */
  readonly decode: <M extends MessageType>(
    type: M,
    message: Message,
    bounds: Bounds
  ) => Result.Result<ReadonlyArray<ValueOf<M>>, Malformed>
  /** Encodes values as one WebSocket message. Payloads are `JsonText`. */
  readonly encode: <M extends MessageType>(type: M, values: ReadonlyArray<ValueOf<M>>) => string | Uint8Array
  /** Returns the JSON value of a decoded payload. An absent payload is undefined. */
  readonly payload: (decoded: unknown) => Result.Result<unknown, Malformed>
}
