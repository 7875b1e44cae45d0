/** What a failure means for a reconnecting client. */
import * as Exit from "effect/Exit"
import * as CloseCode from "../../CloseCode.ts"
import { ConnectionClosed } from "../../ConnectionError.ts"
import { type ConnectError, HandshakeRejected, ProxyRejected } from "../../HandshakeError.ts"
import type { Failure } from "../../Reconnecting.ts"

type FinalTag = Exclude<
  ConnectError["_tag"],
  "ConnectFailed" | "HandshakeTimeout" | "HandshakeRejected" | "ProxyRejected"
>

/** The next attempt would fail in the same way. */
const finalTags: Readonly<Record<FinalTag, true>> = {
  InvalidUrl: true,
  InvalidHeader: true,
  InvalidProtocol: true,
  InvalidOption: true,
  InvalidStatus: true,
  ProtocolNotOffered: true,
  ExtensionNotOffered: true,
  UnsupportedHttpVersion: true,
  MissingHeader: true,
  InvalidUpgradeHeader: true,
  InvalidConnectionHeader: true,
  InvalidAccept: true,
  InvalidExtensionHeader: true,
  UnsolicitedProtocol: true,
  UnsolicitedExtension: true,
  ExtensionMismatch: true,
  Http2Unsupported: true,
  HandshakeRedirected: true,
  TooManyRedirects: true,
  RedirectRefused: true
}

/** Request Timeout, Too Early, Too Many Requests: the server invites another attempt. */
const transientStatuses = new Set([408, 425, 429])

export const isFinal = (failure: Failure<unknown>): boolean => {
  if (failure instanceof ConnectionClosed) {
    return failure.normal && failure.closedBy === "remote" && failure.code !== CloseCode.GoingAway
  }
  if (failure instanceof HandshakeRejected || failure instanceof ProxyRejected) {
    return failure.status < 500 && !transientStatuses.has(failure.status)
  }
  return failure instanceof Error && "_tag" in failure && Object.hasOwn(finalTags, failure._tag as string)
}

/** The end of a client after its last failure. As with the streams of a connection, a normal closure is a success. */
export const toExit = <E>(failure: Failure<E>): Exit.Exit<void, Failure<E>> =>
  failure instanceof ConnectionClosed && failure.normal ? Exit.void : Exit.fail(failure)
