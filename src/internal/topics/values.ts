/** Events and members as the values of a topic. */
import * as Option from "effect/Option"
import type * as Broker from "../../Broker.ts"
import type * as Topic from "../../Topic.ts"
import { missedBy } from "./channel.ts"
import type { TopicCodec } from "./codec.ts"
import type { ChannelEvent, PresenceEvent, PublicationEvent } from "./entry.ts"

/** The value of a member. One that the schema cannot decode has none. */
const toMember = <M, P>(codec: TopicCodec<M, P>, { id, info }: Broker.Member): ReadonlyArray<Topic.Member<P>> => {
  const member = codec.member?.decode(info) ?? Option.none<P>()
  return Option.isSome(member) ? [{ id, member: member.value }] : []
}

export const toMembers = <M, P>(
  codec: TopicCodec<M, P>,
  members: ReadonlyArray<Broker.Member>
): ReadonlyArray<Topic.Member<P>> => members.flatMap((member) => toMember(codec, member))

/** Returns events as values of a topic. Members that the schema cannot decode are left out. */
export const toEvents = <M, P>(codec: TopicCodec<M, P>, event: ChannelEvent): ReadonlyArray<Topic.Event<M, P>> => {
  switch (event._tag) {
    case "Publication":
      return [toMessage(codec, event)]
    case "Gap":
      return event.isLossless === true ? [] : [toGap(event)]
    case "Subscribed":
      return [{ _tag: "Subscribed", position: event.position, members: toMembers(codec, event.members) }]
    case "Joined":
    case "Left":
      return toChange(codec, event)
  }
}

const toChange = <M, P>(codec: TopicCodec<M, P>, change: PresenceEvent): ReadonlyArray<Topic.Event<M, P>> =>
  toMember(codec, change).map(({ id, member }) => ({ _tag: change._tag, id, member }))

/** A message that the schema cannot decode is a gap: another version of the program has published it. */
const toMessage = <M, P>(codec: TopicCodec<M, P>, { data, epoch, offset }: PublicationEvent): Topic.Event<M, P> =>
  Option.match(codec.message.decode(data), {
    onNone: () => toGap({ from: { epoch, offset: offset - 1 }, to: { epoch, offset } }),
    onSome: (message) => ({ _tag: "Message", position: { epoch, offset }, message })
  })

const toGap = ({ from, to }: Pick<Topic.Gap, "from" | "to">): Topic.Gap => {
  const missed = missedBy({ from, to })
  return missed === undefined ? { _tag: "Gap", from, to } : { _tag: "Gap", from, to, missed }
}
