/** The opening handshake of a client's connection. */
import type { HandshakeInfo } from "../../Connection.ts"
import * as Handshake from "../../Handshake.ts"
import { httpVersion } from "../connection/hooks.ts"

/** What the text holds: the request without what its headers say, and both lists of headers. */
type Kept = readonly [
  request: Omit<Handshake.Request, "headers" | "origin" | "query" | "rawHeaders" | "remoteAddress">,
  query: string,
  requestHeaders: Handshake.RawHeaders,
  responseHeaders: Handshake.RawHeaders
]

/** Stand in the text for the key of the request and for the server's answer to it. JSON has no control characters. */
const keyMark = "\u0001"
const acceptMark = "\u0002"

/** The text of the last handshake. The others of a client differ from it only in their keys, and share it. */
let lastText = ""

/**
 * A handshake that is kept as one text, and read when a program asks for it. Few
 * programs do, and the objects would take half of the memory of an idle connection.
 */
export class KeptHandshake implements HandshakeInfo {
  readonly subprotocol: string | undefined
  private readonly version: string
  private readonly key: string
  private readonly text: string
  private read: Pick<HandshakeInfo, "request" | "rawResponseHeaders"> | undefined

  constructor(request: Handshake.Request, { headers, protocol, rawHeaders }: Handshake.Accepted) {
    const { extensions, host, httpVersion: version, key, path, protocols, query, secure } = request
    const plain = { path, httpVersion: version, host, key, protocols, extensions, secure }
    this.subprotocol = protocol
    this.version = version
    this.key = key
    const text = JSON.stringify([plain, query.toString(), request.rawHeaders, rawHeaders] satisfies Kept)
    // HTTP/2 has neither.
    const accept = headers["sec-websocket-accept"]
    const marked = accept === undefined ? text : text.replaceAll(key, keyMark).replaceAll(accept, acceptMark)
    if (marked !== lastText) lastText = marked
    this.text = lastText
  }

  get [httpVersion](): string {
    return this.version
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
    const text = this.text.replaceAll(keyMark, key).replaceAll(acceptMark, () => Handshake.acceptKey(key))
    const [plain, query, rawHeaders, rawResponseHeaders]: Kept = JSON.parse(text)
    const headers = Handshake.foldHeaders(rawHeaders)
    const request = {
      ...plain,
      query: new URLSearchParams(query),
      origin: headers["origin"],
      headers,
      rawHeaders,
      remoteAddress: undefined
    }
    return this.read = { request, rawResponseHeaders }
  }
}
