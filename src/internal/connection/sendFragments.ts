/** Sends a stream as one message, a frame for each element (RFC 6455 §5.4). */
import * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import * as CloseCode from "../../CloseCode.ts"
import { type ConnectionClosed, InvalidInput, MessageAborted, type UnexpectedFragment } from "../../ConnectionError.ts"
import type { SendOptions } from "../../Extension.ts"
import { Frame } from "../../Frame.ts"
import type { Closing } from "./closing.ts"
import { forEachFragment, FragmentEncoder } from "./fragments.ts"
import { failInvalid, findDetached } from "./input.ts"
import type { SendQueue, WriteToken } from "./sendQueue.ts"

/** Writes a frame of the message that `message` stands for, when it is its turn. */
export const sendMessageFrame = (
  sendQueue: SendQueue,
  message: object,
  frame: Frame,
  options: SendOptions | undefined,
  token: WriteToken | undefined
): Effect.Effect<void, ConnectionClosed> =>
  sendQueue.send(() => {
    // The message must not begin with a frame that cannot be sent.
    const detached = findDetached([frame])
    if (detached !== undefined) return failInvalid(detached)
    sendQueue.beginMessage(message)
    return sendQueue.writeData([frame], options, () => {
      if (frame.fin) sendQueue.endMessage(message)
    })
  }, token)

export const sendFragments = <E, R>(
  sendQueue: SendQueue,
  closing: Closing,
  fragments: Stream.Stream<string | Uint8Array, E, R>,
  options: SendOptions | undefined
): Effect.Effect<void, E | ConnectionClosed | UnexpectedFragment, R> =>
  Effect.suspend(() => {
    const encoder = new FragmentEncoder()
    const send = (frame: Frame, token: WriteToken | undefined) =>
      sendMessageFrame(sendQueue, encoder, frame, options, token)
    const sendFragment = (
      fragment: string | Uint8Array,
      last: boolean
    ): Effect.Effect<void, ConnectionClosed | UnexpectedFragment> => {
      const token = encoder.begun ? encoder : undefined
      const frame = encoder.next(fragment, last)
      if (frame instanceof Frame) return send(frame, token)
      return frame instanceof InvalidInput ? failInvalid(frame) : Effect.fail(frame)
    }
    return forEachFragment(fragments, sendFragment).pipe(
      Effect.flatMap(() => encoder.ended ? Effect.void : send(encoder.end(), encoder)),
      Effect.ensuring(Effect.sync(() => {
        if (!sendQueue.isMessageOf(encoder)) return
        // Some fragments were sent, and the message cannot be completed: the peer must not wait for the rest.
        closing.fail(CloseCode.InternalError, new MessageAborted())
        sendQueue.endMessage(encoder)
      }))
    )
  })
