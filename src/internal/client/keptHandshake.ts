/** The opening handshake of a client's connection. */
import type { HandshakeInfo } from "../../Connection.ts"
import * as Handshake from "../../Handshake.ts"
import { httpVersion } from "../connection/hooks.ts"

/** What the text holds: the request without its key and what its headers say, and both lists of headers. */
type Kept = readonly [
  request: Omit<Handshake.Request, "headers" | "key" | "origin" | "query" | "rawHeaders" | "remoteAddress">,
  query: string,
  requestHeaders: Handshake.RawHeaders,
  responseHeaders: Handshake.RawHeaders
]

/** What the handshakes of a client have in common: all but the key and the server's answer to it. */
interface Common {
  readonly subprotocol: string | undefined
  readonly version: string
  readonly text: string
}

/** The handshake that was compared last, and what the next ones may have in common with it. */
interface Latest {
  readonly request: Handshake.Request
  readonly response: Handshake.Accepted
  readonly common: Common
}

let latest: Latest | undefined

/**
 * A handshake that is kept as one text, and read when a program asks for it. Few
 * programs do, and the objects would take half of the memory of an idle connection.
 */
export class KeptHandshake implements HandshakeInfo {
  private readonly key: string
  private readonly common: Common
  private read: Pick<HandshakeInfo, "request" | "rawResponseHeaders"> | undefined

  constructor(request: Handshake.Request, response: Handshake.Accepted) {
    if (latest === undefined || !isLike(latest, request, response)) {
      const { httpVersion: version } = request
      latest = {
        request,
        response,
        common: { subprotocol: response.protocol, version, text: textOf(request, response) }
      }
    }
    this.key = request.key
    this.common = latest.common
  }

  get subprotocol(): string | undefined {
    return this.common.subprotocol
  }

  get [httpVersion](): string {
    return this.common.version
  }

  get request(): Handshake.Request {
    return this.all.request
  }

  get responseHeaders(): Handshake.Headers {
    return Handshake.foldHeaders(this.rawResponseHeaders)
  }

  get rawResponseHeaders(): Handshake.RawHeaders {
    return this.all.rawResponseHeaders
  }

  private get all(): Pick<HandshakeInfo, "request" | "rawResponseHeaders"> {
    if (this.read !== undefined) return this.read
    const { key } = this
    const [plain, query, ownHeaders, responseHeaders]: Kept = JSON.parse(this.common.text)
    const rawHeaders = withValue(ownHeaders, mark, key)
    const rawResponseHeaders = withValue(responseHeaders, mark, Handshake.acceptKey(key))
    const headers = Handshake.foldHeaders(rawHeaders)
    const request = {
      ...plain,
      key,
      query: new URLSearchParams(query),
      origin: headers["origin"],
      headers,
      rawHeaders,
      remoteAddress: undefined
    }
    return this.read = { request, rawResponseHeaders }
  }
}

/** Whether a handshake differs from the latest one only in the key and the answer. Its other parts are in its headers. */
const isLike = (last: Latest, request: Handshake.Request, response: Handshake.Accepted): boolean =>
  request.httpVersion === last.request.httpVersion &&
  request.secure === last.request.secure &&
  request.host === last.request.host &&
  request.path === last.request.path &&
  request.query.toString() === last.request.query.toString() &&
  haveSameHeaders(request.rawHeaders, request.key, last.request.rawHeaders, last.request.key) &&
  haveSameHeaders(response.rawHeaders, acceptOf(response), last.response.rawHeaders, acceptOf(last.response))

/** Whether two lists of headers are equal, except that each has its own value in the same place. */
const haveSameHeaders = (
  headers: Handshake.RawHeaders,
  own: string | undefined,
  others: Handshake.RawHeaders,
  otherOwn: string | undefined
): boolean =>
  headers.length === others.length &&
  headers.every(([name, value], i) => {
    const [otherName, otherValue] = others[i]
    return name === otherName && (otherValue === otherOwn ? value === own : value === otherValue)
  })

/** The server's answer to the key. HTTP/2 has none. */
const acceptOf = ({ headers }: Handshake.Accepted): string | undefined => headers["sec-websocket-accept"]

const textOf = (request: Handshake.Request, response: Handshake.Accepted): string => {
  const { extensions, host, httpVersion: version, key, path, protocols, query, rawHeaders, secure } = request
  const kept: Kept = [
    { path, httpVersion: version, host, protocols, extensions, secure },
    query.toString(),
    withValue(rawHeaders, key, mark),
    withValue(response.rawHeaders, acceptOf(response), mark)
  ]
  return JSON.stringify(kept)
}

/** Stands for the key and for the answer. No header has this value, because it is a control character. */
const mark = "\u0001"

const withValue = (headers: Handshake.RawHeaders, from: string | undefined, to: string): Handshake.RawHeaders =>
  headers.map(([name, value]) => [name, value === from ? to : value])
