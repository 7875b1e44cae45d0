/** The body of a response that does not accept a handshake, as text: the part that was received, up to a limit. */
import * as Deferred from "effect/Deferred"
import * as Exit from "effect/Exit"
import type { Readable } from "node:stream"

const maxBodySize = 64 * 1024

export class ResponseBody {
  readonly _tag = "Body"
  /** Done once the body has ended, or has more than is kept. */
  readonly complete = Deferred.makeUnsafe<void>()
  private received = ""

  constructor(response: Readable) {
    const done = () => Deferred.doneUnsafe(this.complete, Exit.void)
    response.setEncoding("utf8")
    response.on("data", (chunk: string) => {
      this.received += chunk
      if (this.received.length < maxBodySize) return
      this.received = this.received.slice(0, maxBodySize)
      done()
    })
    response.on("end", done)
    // If the connection is lost, the part that was received counts.
    response.on("error", done)
    response.on("close", done)
  }

  readonly text = (): string => this.received
}
