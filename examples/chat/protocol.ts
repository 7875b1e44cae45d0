/** What the page and the server say to each other: JSON, one tagged object a message. */
import { Schema } from "effect"
import { Message } from "effect-ws"

/** Up to 24 letters, digits, signs and spaces; nothing that is invisible, or that a terminal would obey. */
export const Name = Schema.Trim.check(Schema.isPattern(/^[\p{L}\p{M}\p{N}\p{P}\p{S} ]{1,24}$/u, {
  message: "Expected a name of up to 24 letters, digits, signs and spaces"
}))

const Text = Schema.Trim.check(Schema.isBetweenLength(1, 1000))

export const Person = Schema.Struct({ id: Schema.Int, name: Name })
export type Person = typeof Person.Type

const people = Schema.Array(Person)
export type People = typeof people.Type

/** What a page says. */
export const Request = Schema.TaggedUnion({
  Say: { text: Text },
  Rename: { name: Name }
})

export const decode = Schema.decodeUnknownEffect(Schema.fromJsonString(Request))

/**
 * What the server says. What changes the people holds all of them, and so does
 * each pulse: who has missed something is right again with the next.
 */
export const Event = Schema.TaggedUnion({
  Welcome: { you: Person, people },
  Joined: { person: Person, people },
  Renamed: { person: Person, before: Name, people },
  Left: { person: Person, people },
  /** `n` counts what was said, so that a reader can tell that it has missed some. */
  Said: { n: Schema.Int, person: Person, text: Text },
  /** Each second: how many messages were said in it, and how many ever. */
  Pulse: { rate: Schema.Int, total: Schema.Int, people },
  RoundTrip: { millis: Schema.Finite },
  /** The last message could not be understood. */
  Refused: { problem: Schema.String }
})
export type Event = typeof Event.Type

const toJson = Schema.encodeSync(Schema.fromJsonString(Event))

/** A message is turned into bytes once, however many connections it is sent to. */
export const encode = (event: Event): Message.Message => Message.text(toJson(event))
