/** What the two ends of the notebook say to each other. Both ends import this file. */
import * as Schema from "effect/Schema"

/** A note has a number, from 1, in the order of the server. Numbers begin anew in another epoch. */
export const Note = Schema.Struct({ epoch: Schema.String, n: Schema.Int, id: Schema.String, text: Schema.String })
export type Note = typeof Note.Type

export const Request = Schema.TaggedUnion({
  /** Send all notes behind a number, then those that are added. */
  Follow: { epoch: Schema.String, after: Schema.Int },
  /** Add a note, unless there is one with this id. */
  Add: { id: Schema.String, text: Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(1000)) }
})
export type Request = typeof Request.Type
