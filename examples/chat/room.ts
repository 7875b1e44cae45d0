/** The rooms of the chat: what the page and the server have in common. */
import * as Schema from "effect/Schema"
import * as Topic from "effect-ws/Topic"

/** Up to 24 letters, digits, signs and spaces; no control characters, which a terminal would obey. */
export const Name = Schema.Trim.check(Schema.isPattern(/^[\p{L}\p{M}\p{N}\p{P}\p{S} ]{1,24}$/u, {
  message: "Expected a name of up to 24 letters, digits, signs and spaces"
}))

export const Text = Schema.Trim.check(Schema.isBetweenLength(1, 1000))

/** A message. The server writes the name of the user, and the time in milliseconds. */
export const Said = Schema.Struct({ by: Name, text: Text, at: Schema.Int })
export type Said = typeof Said.Type

export const Room = Topic.make("room/:name", {
  message: Said,
  member: Schema.Struct({ name: Name }),
  history: { size: 200, ttl: "1 hour" }
})
