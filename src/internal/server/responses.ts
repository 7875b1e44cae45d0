/** The responses of a server that do not accept a request, as data. */
import * as Result from "effect/Result"
import * as Handshake from "../../Handshake.ts"
import { InvalidConnectionHeader } from "../../HandshakeError.ts"
import type { RequestHead } from "./upgrade.ts"

/** Makes the response for a status from 300 to 599 other than 304. */
export const rejection = (status: number, body?: string): Handshake.HttpResponse =>
  Result.getOrThrow(Handshake.rejectResponse(Handshake.reject({ status, body })))

export const internalError = rejection(500)

/** RFC 6585 §5. The dropped lines may include headers that a proxy appended and that `decide` relies on. */
export const tooManyHeaders = rejection(431, "the request has too many header lines")

/** 503 with a random Retry-After, so that rejected clients do not all return at once. */
export const serviceUnavailable = (): Handshake.HttpResponse => ({
  status: 503,
  rawHeaders: [
    ["Connection", "close"],
    ["Content-Length", "0"],
    ["Retry-After", String(5 + Math.floor(Math.random() * 11))]
  ],
  body: ""
})

/**
 * The response to a request that is not an upgrade: it lacks a valid Upgrade or
 * Connection header. If the handshake rules find no error, the HTTP parser was
 * stricter: not every Node accepts a Connection header with a tab after its value.
 */
export const upgradeRequired = (head: RequestHead): Handshake.HttpResponse => {
  if (head.isTruncated) return tooManyHeaders
  const request = Handshake.readRequest(head)
  const error = Result.isFailure(request)
    ? request.failure
    : new InvalidConnectionHeader({ value: Handshake.foldHeaders(head.rawHeaders)["connection"] })
  return Handshake.errorResponse(error)
}
