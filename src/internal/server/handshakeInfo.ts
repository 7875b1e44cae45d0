/** The opening handshake of a server's connection. */
import * as Result from "effect/Result"
import type { HandshakeInfo } from "../../Connection.ts"
import * as Handshake from "../../Handshake.ts"

/**
 * A handshake that is read a second time when a program asks for it. Few handlers
 * do, so an idle connection keeps only what it was read from: the request's head
 * and what the server accepted, not the parsed request and the response.
 */
export class RereadHandshake implements HandshakeInfo {
  private readonly head: Handshake.HttpRequest
  private readonly accepted: Handshake.AcceptOptions
  private reread: Handshake.Request | undefined

  /** The head must have been read without an error, and accepted with these options. */
  constructor(head: Handshake.HttpRequest, accepted: Handshake.AcceptOptions) {
    this.head = head
    this.accepted = accepted
  }

  get subprotocol(): string | undefined {
    return this.accepted.protocol
  }

  get request(): Handshake.Request {
    return this.reread ??= Result.getOrThrow(Handshake.readRequest(this.head))
  }

  get responseHeaders(): Handshake.Headers {
    return Handshake.foldHeaders(this.rawResponseHeaders)
  }

  get rawResponseHeaders(): Handshake.RawHeaders {
    return Result.getOrThrow(Handshake.acceptResponse(this.request, this.accepted)).rawHeaders
  }
}
