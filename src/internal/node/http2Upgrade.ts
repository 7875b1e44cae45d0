/** Upgrade requests over HTTP/2: extended CONNECT requests (RFC 8441) on streams of Node's sessions. */
import type * as Http2 from "node:http2"
import type * as Handshake from "../../Handshake.ts"
import type { Transport } from "../../Transport.ts"
import { isConnectionSpecific } from "../handshake/rules.ts"
import { emptyBytes } from "../runtime/buffers.ts"
import type { Timers } from "../runtime/timers.ts"
import { nextTurn } from "../runtime/turns.ts"
import { serviceUnavailable } from "../server/responses.ts"
import type { RequestHead } from "../server/upgrade.ts"
import { cancel, Http2StreamTransport } from "../streams/http2StreamTransport.ts"
import { toHeaderPairs } from "./httpMessage.ts"
import { StreamUpgrade } from "./streamUpgrade.ts"
import { limitResponse } from "./upgradeSocket.ts"

/** What a session knows of its client. */
export interface Http2Client {
  readonly secure: boolean
  readonly remoteAddress: string | undefined
}

/** The head of a request without Node's objects. */
export class Http2RequestHead implements RequestHead {
  readonly method: string
  readonly target: string
  readonly httpVersion = "2"
  readonly protocol: string | undefined
  readonly scheme: string | undefined
  readonly authority: string | undefined
  readonly secure: boolean
  readonly remoteAddress: string | undefined
  /** Node resets a stream with more headers than it keeps. */
  readonly isTruncated = false
  private readonly flatHeaders: ReadonlyArray<string>

  constructor(headers: Http2.IncomingHttpHeaders, flatHeaders: ReadonlyArray<string>, client: Http2Client) {
    this.method = headers[":method"] ?? ""
    this.target = headers[":path"] ?? ""
    this.protocol = headers[":protocol"] as string | undefined
    this.scheme = headers[":scheme"]
    this.authority = headers[":authority"]
    this.secure = client.secure
    this.remoteAddress = client.remoteAddress
    this.flatHeaders = flatHeaders
  }

  /** Converts the headers anew on each access: pairs take more memory than Node's list. */
  get rawHeaders(): Handshake.RawHeaders {
    return toHeaderPairs(this.flatHeaders).filter(([name]) => !name.startsWith(":"))
  }
}

/** An extended CONNECT request with its stream. */
export class Http2Upgrade extends StreamUpgrade<Http2.ServerHttp2Stream> {
  constructor(head: Http2RequestHead, stream: Http2.ServerHttp2Stream) {
    super(head, stream, emptyBytes)
  }

  override get hasClientLeft(): boolean {
    return super.hasClientLeft || this.stream.aborted
  }

  accept(_request: Handshake.Request, response: Handshake.HttpResponse): Transport {
    this.stream.respond(toHttp2Headers(response))
    return new Http2StreamTransport(this.stream, this.takeEarly())
  }

  reject(response: Handshake.HttpResponse, timers: Timers, timeout: number): void {
    respondHttp2(this.stream, response)
    limitResponse(this.stream, timers, timeout)
  }

  rejectUnavailable(timers: Timers, timeout: number): void {
    this.reject(serviceUnavailable(), timers, timeout)
  }

  override destroy(): void {
    cancel(this.stream)
  }
}

/** Writes a response that ends the stream. The reset behind it says that the rest of the request is not needed (RFC 9113 §8.1). */
export const respondHttp2 = (stream: Http2.ServerHttp2Stream, response: Handshake.HttpResponse): void => {
  if (stream.destroyed || stream.closed) return
  stream.respond(toHttp2Headers(response))
  stream.end(response.body)
  closeAfterResponse(stream)
}

/** Discards what the client still sends, and closes the stream once the response has left. */
export const closeAfterResponse = (stream: Http2.ServerHttp2Stream): void => {
  stream.resume()
  // Node writes END_STREAM in this turn, and a reset would overtake it.
  stream.once("finish", () => nextTurn(() => stream.close()))
}

/**
 * Returns the headers of a response in the form of Node's HTTP/2. Leaves out those
 * that HTTP/2 does not allow (RFC 9113 §8.2.2), as an intermediary does.
 */
export const toHttp2Headers = ({ rawHeaders, status }: Handshake.HttpResponse): Http2.OutgoingHttpHeaders => {
  const headers: Record<string, number | Array<string>> = { ":status": status }
  for (const [name, value] of rawHeaders) {
    if (isConnectionSpecific(name)) continue
    const values = headers[name.toLowerCase()] ??= []
    if (Array.isArray(values)) values.push(value)
  }
  return headers
}
