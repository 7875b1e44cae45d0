/** What Node's HTTP messages and sockets say, for clients and servers. */
import type * as Http from "node:http"
import type { Duplex } from "node:stream"
import type * as Handshake from "../../Handshake.ts"

/** Converts Node's flat list of names and values to pairs. */
export const toHeaderPairs = (flat: ReadonlyArray<string>): Handshake.RawHeaders => {
  const headers: Array<readonly [string, string]> = []
  for (let i = 0; i + 1 < flat.length; i += 2) headers.push([flat[i], flat[i + 1]])
  return headers
}

/**
 * How many header lines Node keeps of a message (its `maxHeadersCount`): one more
 * than a server or client accepts, so that a message of 1,000 lines does not count as truncated.
 */
export const headerLinesKept = 1001

/**
 * Whether Node may have dropped header lines: it keeps `maxHeadersCount` of them,
 * 1,000 by default and all with 0, and does not report how many there were.
 */
export const isTruncated = (
  { rawHeaders }: Http.IncomingMessage,
  by: Pick<Http.Server, "maxHeadersCount"> | undefined
): boolean => rawHeaders.length >= 2 * ((by?.maxHeadersCount ?? 1000) || Infinity)

/** The server that received a request; undefined if it is not one of Node's. Node's types do not declare the property. */
export const serverOf = ({ socket }: Http.IncomingMessage): Http.Server | undefined =>
  (socket as unknown as { readonly server: Http.Server | undefined }).server

/** Whether a stream uses TLS. Bun's plain sockets have the property, too. */
export const isEncrypted = (stream: Duplex): boolean => "encrypted" in stream && stream.encrypted === true
