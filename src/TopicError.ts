/**
 * Errors of the client protocol of topics: what `TopicServer` tells its clients, and
 * `TopicClient` its program. The codes are those of Centrifuge's protocol.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"

/**
 * Codes of rejected commands, with their meanings.
 *
 * @stability unstable
 * @category codes
 * @since 0.1.0
 */
export const Code = {
  InternalError: 100,
  Unauthorized: 101,
  UnknownChannel: 102,
  PermissionDenied: 103,
  MethodNotFound: 104,
  AlreadySubscribed: 105,
  LimitExceeded: 106,
  BadRequest: 107,
  NotAvailable: 108,
  TokenExpired: 109,
  Expired: 110,
  TooManyRequests: 111,
  UnrecoverablePosition: 112,
  /** It is unknown whether the message was published. Not a code of Centrifuge. */
  PublishUnknown: 1100
} as const

/**
 * Codes of disconnects. The first group lets clients reconnect, the second does not.
 *
 * @stability unstable
 * @category codes
 * @since 0.1.0
 */
export const DisconnectCode = {
  ConnectionClosed: 3000,
  Shutdown: 3001,
  ServerError: 3004,
  Expired: 3005,
  SubscriptionExpired: 3006,
  Slow: 3008,
  InsufficientState: 3010,
  ForceReconnect: 3011,
  NoPong: 3012,
  TooManyRequests: 3013,

  InvalidToken: 3500,
  BadRequest: 3501,
  Stale: 3502,
  ForceDisconnect: 3503,
  ConnectionLimit: 3504,
  ChannelLimit: 3505,
  InappropriateProtocol: 3506,
  PermissionDenied: 3507,
  NotAvailable: 3508
} as const

/**
 * Codes with which a server ends a subscription. From 2500 on, clients subscribe again.
 *
 * @stability unstable
 * @category codes
 * @since 0.1.0
 */
export const UnsubscribeCode = {
  Server: 2000,
  InsufficientState: 2500,
  Expired: 2501
} as const

const words = (name: string): string => name.replaceAll(/(?<=.)[A-Z]/g, " $&").toLowerCase()

const namesOf = (codes: Readonly<Record<string, number>>): ReadonlyMap<number, string> =>
  new Map(Object.entries(codes).map(([name, code]) => [code, words(name)]))

/** The reasons that clients of Centrifuge expect, where they are not the names. */
const names: ReadonlyMap<number, string> = new Map([
  ...namesOf(Code),
  ...namesOf(DisconnectCode),
  ...namesOf(UnsubscribeCode),
  [Code.InternalError, "internal server error"],
  [DisconnectCode.ServerError, "internal server error"],
  [DisconnectCode.Expired, "connection expired"],
  [UnsubscribeCode.Server, "server unsubscribe"],
  [UnsubscribeCode.Expired, "subscription expired"]
])

/**
 * Returns the standard reason of a code, or "" for a code of an application.
 *
 * **Example** (Two reasons)
 *
 * ```ts
 * import { TopicError } from "effect-ws"
 *
 * TopicError.reasonOf(103) // => "permission denied"
 * TopicError.reasonOf(4000) // => ""
 * ```
 *
 * @stability unstable
 * @category codes
 * @since 0.1.0
 */
export const reasonOf = (code: number): string => names.get(code) ?? ""

/**
 * Returns whether a client reconnects after a close code: not after 3500 to 3999
 * and 4500 to 4999.
 *
 * @stability unstable
 * @category codes
 * @since 0.1.0
 */
export const reconnects = (code: number): boolean => !((code >= 3500 && code < 4000) || (code >= 4500 && code < 5000))

/**
 * A command was rejected. A server's effects fail with it to reject a command; a
 * client's effects fail with it when the server has.
 *
 * @stability unstable
 * @category errors
 * @since 0.1.0
 */
export class Rejected extends Data.TaggedError("Rejected")<{
  /** One of `Code`, or a code of the application, from 400 to 1999. */
  readonly code: number
  /** Default: the standard reason of the code. */
  readonly reason?: string | undefined
  /** Whether the same command may succeed later, so that clients repeat it. Default: true for 100 and 111. */
  readonly temporary?: boolean | undefined
}> {
  override get message(): string {
    const { code, reason = reasonOf(code) } = this
    return `the server rejected a command with ${code}${reason === "" ? "" : ` (${reason})`}`
  }
}

/**
 * Returns whether the same command may succeed later.
 *
 * @stability unstable
 * @category errors
 * @since 0.1.0
 */
export const isTemporary = ({ code, temporary }: Rejected): boolean =>
  temporary ?? (code === Code.InternalError || code === Code.TooManyRequests)

/**
 * A connection was ended with a code of the protocol. A server's effects fail with
 * it to disconnect a client.
 *
 * @stability unstable
 * @category errors
 * @since 0.1.0
 */
export class Disconnect extends Data.TaggedError("Disconnect")<{
  /** One of `DisconnectCode`, or a code of the application, from 4000 to 4999: see `reconnects`. */
  readonly code: number
  /** At most 123 bytes of UTF-8. Default: the standard reason of the code. */
  readonly reason?: string | undefined
}> {
  override get message(): string {
    const { code, reason = reasonOf(code) } = this
    return `the server disconnected the client with ${code}${reason === "" ? "" : ` (${reason})`}`
  }
}

/**
 * A command was sent, and its reply did not arrive: the server may have run it or not.
 *
 * @stability unstable
 * @category errors
 * @since 0.1.0
 */
export class Unanswered extends Data.TaggedError("Unanswered")<{
  readonly command: string
  /** The connection was lost, or the time was up. */
  readonly reason: "ConnectionLost" | "Timeout"
}> {
  override get message(): string {
    const got = this.reason === "Timeout" ? "nothing in time" : "the end of the connection"
    return `${this.command}: expected a reply, got ${got}; the server may have run the command`
  }
}

/**
 * The server ended a subscription for good.
 *
 * @stability unstable
 * @category errors
 * @since 0.1.0
 */
export class Unsubscribed extends Data.TaggedError("Unsubscribed")<{
  readonly channel: string
  /** A code below 2500. */
  readonly code: number
  readonly reason: string
}> {
  override get message(): string {
    return `the server ended the subscription to ${JSON.stringify(this.channel)} with ${this.code} (${this.reason})`
  }
}
