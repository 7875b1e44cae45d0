/**
 * Close codes (RFC 6455 §7.4): the names of the IANA registry, and the codes that
 * a close frame may have.
 *
 * **Example** (Close with a reason)
 *
 * ```ts
 * import { CloseCode, type Connection } from "effect-ws"
 *
 * const dismiss = (connection: Connection.Connection) =>
 *   connection.close(CloseCode.PolicyViolation, "too chatty")
 * ```
 *
 * @since 0.1.0
 */

/**
 * One entry of the IANA "WebSocket Close Code Number Registry".
 *
 * @stability stable
 * @category models
 * @since 0.1.0
 */
export interface Registration {
  readonly code: number
  readonly name: string
  readonly description: string
  /**
   * Whether a close frame may have the code. 1004 is reserved; 1005, 1006 and 1015
   * describe what an endpoint saw (RFC 6455 §7.4.1).
   */
  readonly onWire: boolean
}

/**
 * The purpose of the connection has been fulfilled.
 *
 * @stability stable
 * @category codes
 * @since 0.1.0
 */
export const NormalClosure = 1000

/**
 * An endpoint goes away: a server shuts down, a browser leaves the page.
 *
 * @stability stable
 * @category codes
 * @since 0.1.0
 */
export const GoingAway = 1001

/**
 * The peer broke the protocol.
 *
 * @stability stable
 * @category codes
 * @since 0.1.0
 */
export const ProtocolError = 1002

/**
 * The peer sent data of a type that the endpoint does not accept, such as binary
 * instead of text.
 *
 * @stability stable
 * @category codes
 * @since 0.1.0
 */
export const UnsupportedData = 1003

/**
 * The close frame had no code. Never sent.
 *
 * @stability stable
 * @category codes
 * @since 0.1.0
 */
export const NoStatusReceived = 1005

/**
 * The connection ended without a close frame. Never sent.
 *
 * @stability stable
 * @category codes
 * @since 0.1.0
 */
export const AbnormalClosure = 1006

/**
 * The data of a message does not match its type, such as text that is not UTF-8.
 *
 * @stability stable
 * @category codes
 * @since 0.1.0
 */
export const InvalidPayloadData = 1007

/**
 * A message breaks a policy, and no other code is more specific.
 *
 * @stability stable
 * @category codes
 * @since 0.1.0
 */
export const PolicyViolation = 1008

/**
 * A message is too big to process.
 *
 * @stability stable
 * @category codes
 * @since 0.1.0
 */
export const MessageTooBig = 1009

/**
 * A client expected an extension that the server did not negotiate.
 *
 * @stability stable
 * @category codes
 * @since 0.1.0
 */
export const MandatoryExtension = 1010

/**
 * The endpoint met an unexpected condition.
 *
 * @stability stable
 * @category codes
 * @since 0.1.0
 */
export const InternalError = 1011

/**
 * The service restarts. Reconnect after a random delay of 5 to 30 seconds.
 *
 * @stability stable
 * @category codes
 * @since 0.1.0
 */
export const ServiceRestart = 1012

/**
 * The service is overloaded. Connect to another address, or later.
 *
 * @stability stable
 * @category codes
 * @since 0.1.0
 */
export const TryAgainLater = 1013

/**
 * A gateway received an invalid response from its upstream server.
 *
 * @stability stable
 * @category codes
 * @since 0.1.0
 */
export const BadGateway = 1014

/**
 * The TLS handshake failed. Never sent.
 *
 * @stability stable
 * @category codes
 * @since 0.1.0
 */
export const TlsHandshake = 1015

/**
 * The endpoint is not authorized, like 401 in HTTP.
 *
 * @stability stable
 * @category codes
 * @since 0.1.0
 */
export const Unauthorized = 3000

/**
 * The endpoint is authorized, but not for this action, like 403 in HTTP.
 *
 * @stability stable
 * @category codes
 * @since 0.1.0
 */
export const Forbidden = 3003

/**
 * The endpoint took too long, like 408 in HTTP.
 *
 * @stability stable
 * @category codes
 * @since 0.1.0
 */
export const Timeout = 3008

const registration = (code: number, name: string, description: string, onWire = true): Registration => ({
  code,
  name,
  description,
  onWire
})

/**
 * The IANA registry, in the order of the codes.
 *
 * @stability stable
 * @category registry
 * @since 0.1.0
 */
export const registry: ReadonlyArray<Registration> = [
  registration(NormalClosure, "NormalClosure", "the purpose of the connection has been fulfilled"),
  registration(GoingAway, "GoingAway", "the endpoint goes away"),
  registration(ProtocolError, "ProtocolError", "the peer broke the protocol"),
  registration(UnsupportedData, "UnsupportedData", "this kind of data cannot be accepted"),
  registration(1004, "Reserved", "reserved, without a meaning", false),
  registration(NoStatusReceived, "NoStatusReceived", "the close frame held no code", false),
  registration(AbnormalClosure, "AbnormalClosure", "the connection was cut without a close frame", false),
  registration(InvalidPayloadData, "InvalidPayloadData", "the data does not fit the type of its message"),
  registration(PolicyViolation, "PolicyViolation", "the message breaks a policy"),
  registration(MessageTooBig, "MessageTooBig", "the message is too big to process"),
  registration(MandatoryExtension, "MandatoryExtension", "an expected extension was not negotiated"),
  registration(InternalError, "InternalError", "the endpoint met an unexpected condition"),
  registration(ServiceRestart, "ServiceRestart", "the service restarts"),
  registration(TryAgainLater, "TryAgainLater", "the service is overloaded"),
  registration(BadGateway, "BadGateway", "the gateway got an invalid answer"),
  registration(TlsHandshake, "TlsHandshake", "the TLS handshake failed", false),
  registration(Unauthorized, "Unauthorized", "the endpoint must be authorized"),
  registration(Forbidden, "Forbidden", "the endpoint is not allowed to do this"),
  registration(Timeout, "Timeout", "the endpoint took too long")
]

/**
 * Returns whether a close frame may have a code: a registered code that is not for
 * local use, or a code from 3000 to 4999, the range of libraries and applications
 * (RFC 6455 §7.4.2).
 *
 * **Example** (Codes that may be sent)
 *
 * ```ts
 * import { CloseCode } from "effect-ws"
 *
 * CloseCode.isSendable(CloseCode.NormalClosure) // => true
 * CloseCode.isSendable(4321) // => true
 * CloseCode.isSendable(CloseCode.AbnormalClosure) // => false
 * CloseCode.isSendable(2999) // => false
 * ```
 *
 * @stability stable
 * @category predicates
 * @since 0.1.0
 */
export const isSendable = (code: number): boolean =>
  Number.isInteger(code) && (
    (code >= 3000 && code <= 4999) ||
    (code >= 1000 && code <= 1014 && code !== 1004 && code !== NoStatusReceived && code !== AbnormalClosure)
  )

/**
 * Returns whether a code means a normal closure: 1000, 1001, or a close frame
 * without a code (1005), as `close()` in a browser sends.
 *
 * @stability stable
 * @category predicates
 * @since 0.1.0
 */
export const isNormal = (code: number): boolean =>
  code === NormalClosure || code === GoingAway || code === NoStatusReceived

/**
 * Returns the registered name of a code, or the name of its range.
 *
 * **Example** (Names)
 *
 * ```ts
 * import { CloseCode } from "effect-ws"
 *
 * CloseCode.nameOf(1009) // => "MessageTooBig"
 * CloseCode.nameOf(3333) // => "Library"
 * CloseCode.nameOf(4000) // => "Application"
 * CloseCode.nameOf(2000) // => "Unassigned"
 * ```
 *
 * @stability stable
 * @category accessors
 * @since 0.1.0
 */
export const nameOf = (code: number): string => {
  const registered = registry.find((entry) => entry.code === code)
  if (registered !== undefined) return registered.name
  const thousands = Math.floor(code / 1000)
  if (thousands === 3) return "Library"
  return thousands === 4 ? "Application" : "Unassigned"
}
