/** Messages that are sent and received fragment by fragment (RFC 6455 §5.4). */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Fragments } from "../Connection.ts"
import { type ConnectionClosed, type MessageSkipped, UnexpectedFragment } from "../ConnectionError.ts"
import { continuation, Frame, Opcode } from "../Frame.ts"
import type { Inbox } from "./inbox.ts"

const encoder = new TextEncoder()

/** Makes the frames of one message, as its fragments come. */
export class FragmentEncoder {
  private opcode: typeof Opcode.Text | typeof Opcode.Binary | undefined
  /** The first half of a surrogate pair that was cut in two: it can only be encoded with the second. */
  private highSurrogate = ""

  get begun(): boolean {
    return this.opcode !== undefined
  }

  next(fragment: string | Uint8Array): Frame | UnexpectedFragment {
    const kind = typeof fragment === "string" ? Opcode.Text : Opcode.Binary
    const opcode = this.opcode === undefined ? kind : Opcode.Continuation
    this.opcode ??= kind
    if (kind !== this.opcode) return new UnexpectedFragment({ problem: "text and binary are mixed in one message" })
    return new Frame(opcode, typeof fragment === "string" ? this.encode(fragment) : fragment, false)
  }

  /** The frame that ends the message. */
  end(): Frame {
    return continuation(this.highSurrogate)
  }

  private encode(fragment: string): Uint8Array {
    const text = this.highSurrogate + fragment
    const cut = /[\ud800-\udbff]$/.test(text)
    this.highSurrogate = cut ? text.slice(-1) : ""
    return encoder.encode(cut ? text.slice(0, -1) : text)
  }
}

/** The message that begins with `first`, as a stream of what its fragments hold. */
export const decodeFragments = (inbox: Inbox, first: Frame, token: object): Fragments => {
  let unread: Frame | undefined = first
  let ended = false
  const beginning = Effect.sync(() => {
    const frame = unread!
    unread = undefined
    return frame
  })
  const following = inbox.takeFragment(token, Effect.fail)
  // Nothing is taken before the last step, so that to interrupt it takes nothing away.
  const pull = Effect.suspend((): Effect.Effect<
    readonly [Uint8Array],
    ConnectionClosed | MessageSkipped | Cause.Done
  > =>
    ended ? Cause.done() : Effect.map(unread === undefined ? following : beginning, (frame) => {
      ended = frame.fin
      return [frame.payload]
    })
  )
  const payloads = Stream.fromPull(Effect.succeed(pull))
  if (first.opcode === Opcode.Binary) return { _tag: "Binary", fragments: payloads }
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true })
  return { _tag: "Text", fragments: Stream.map(payloads, (payload) => decoder.decode(payload, { stream: true })) }
}
