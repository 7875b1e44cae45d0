/** The forms in which a topic server tells events of channels: each event is encoded once for all clients of a form. */
import type * as Broker from "../../Broker.ts"
import { decodeText } from "../protocol/message.ts"
import type { ChannelEvent, Format } from "../topics/entry.ts"
import { decodeMember, decodePublisher } from "./clientInfo.ts"
import type { Codec } from "./codec.ts"
import { JsonText, type Publication, type Push, Reply } from "./schema.ts"

const formats = new WeakMap<Codec, Format>()

/** Returns the form of a codec, the same one for all clients. */
export const formatOf = (codec: Codec): Format => {
  let format = formats.get(codec)
  if (format === undefined) formats.set(codec, format = makeFormat(codec))
  return format
}

const makeFormat = (codec: Codec): Format => ({
  encode: (channel, event) => {
    const push = pushOf(event)
    return push === undefined ? undefined : codec.encode(Reply, [{ push: { channel, ...push } }])
  }
})

/** A gap ends the subscription instead. The protocol has no push that lists members: clients ask for them. */
const pushOf = (event: ChannelEvent): Omit<Push, "channel"> | undefined => {
  switch (event._tag) {
    case "Publication":
      return { pub: toPublication(event) }
    case "Joined":
      return { join: { info: decodeMember(event) } }
    case "Left":
      return { leave: { info: decodeMember(event) } }
    default:
      return undefined
  }
}

export const toPublication = ({ data, info, offset }: Broker.Publication): Publication => ({
  data: new JsonText(decodeText(data)),
  offset,
  info: decodePublisher(info)
})
