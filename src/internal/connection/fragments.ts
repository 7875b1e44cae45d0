/** Messages that are sent and received fragment by fragment (RFC 6455 §5.4). */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"
import type { Fragments } from "../../Connection.ts"
import { type ConnectionClosed, InvalidInput, type MessageSkipped, UnexpectedFragment } from "../../ConnectionError.ts"
import { continuation, Frame, Opcode } from "../../Frame.ts"
import type { ReceiveQueue } from "./receiveQueue.ts"
import { payloadOf } from "./input.ts"

const encoder = new TextEncoder()

/** Makes the frames of one message, fragment by fragment. */
export class FragmentEncoder {
  private opcode: typeof Opcode.Text | typeof Opcode.Binary | undefined
  /** The first half of a surrogate pair that the end of a fragment divides: it is encoded with the second half. */
  private highSurrogate = ""
  /** Whether the last fragment was encoded. */
  private final = false

  get begun(): boolean {
    return this.opcode !== undefined
  }

  /** Whether no frame is needed to end the message: it did not begin, or its last frame was made. */
  get ended(): boolean {
    return !this.begun || this.final
  }

  /** Returns the frame of the next fragment. With `fin`, it ends the message. */
  next(given: string | Uint8Array, fin = false): Frame | UnexpectedFragment | InvalidInput {
    const fragment = payloadOf("fragment", given)
    if (fragment instanceof InvalidInput) return fragment
    const kind = typeof fragment === "string" ? Opcode.Text : Opcode.Binary
    const opcode = this.opcode === undefined ? kind : Opcode.Continuation
    this.opcode ??= kind
    if (kind !== this.opcode) {
      return new UnexpectedFragment({ problem: "expected fragments of one kind, got text and binary" })
    }
    this.final = fin
    return new Frame(opcode, typeof fragment === "string" ? this.encode(fragment, fin) : fragment, fin)
  }

  /** Returns the frame that ends the message. */
  end(): Frame {
    return continuation(this.highSurrogate)
  }

  private encode(fragment: string, fin: boolean): Uint8Array {
    const text = this.highSurrogate + fragment
    const cut = !fin && /[\ud800-\udbff]$/.test(text)
    this.highSurrogate = cut ? text.slice(-1) : ""
    return encoder.encode(cut ? text.slice(0, -1) : text)
  }
}

/** A copy of an element: a source may reuse its memory when it is pulled. */
const ownElement = (element: string | Uint8Array): string | Uint8Array => {
  const payload = payloadOf("fragment", element)
  return typeof payload === "string" || payload instanceof InvalidInput ? element : payload.slice()
}

/**
 * Calls `send` with each element in order, and with whether it is the last one, if
 * the source ends behind it without suspending.
 *
 * The source is pulled before an element is sent. If it suspends, the element is
 * sent meanwhile.
 */
export const forEachFragment = <E, R, E2>(
  source: Stream.Stream<string | Uint8Array, E, R>,
  send: (element: string | Uint8Array, last: boolean) => Effect.Effect<void, E2>
): Effect.Effect<void, E | E2, R> =>
  Effect.scoped(Effect.gen(function*() {
    const pull = yield* Stream.toPull(source)
    let pulled = yield* Effect.exit(pull)
    while (Exit.isSuccess(pulled)) {
      const elements = pulled.value
      for (const element of elements.slice(0, -1)) yield* send(element, false)
      const element = ownElement(elements[elements.length - 1])
      const next = yield* Effect.forkScoped(pull, { startImmediately: true })
      const known = next.pollUnsafe()
      yield* send(element, known !== undefined && hasEnded(known))
      pulled = yield* Fiber.await(next)
    }
    if (!hasEnded(pulled)) return yield* Effect.failCause(pulled.cause as Cause.Cause<E>)
  }))

const hasEnded = (pulled: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isFailure(pulled) && Pull.isDoneCause(pulled.cause)

/** The message that begins with `first`, as a stream of the payloads of its fragments. */
export const decodeFragments = (inbox: ReceiveQueue, first: Frame, token: object): Fragments => {
  let unread: Frame | undefined = first
  let ended = false
  const beginning = Effect.sync(() => {
    const frame = unread!
    unread = undefined
    return frame
  })
  const following = inbox.readFragment(token, Effect.fail)
  // The last step of a pull removes a fragment, so an interrupted pull removes none.
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
