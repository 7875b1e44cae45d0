/** Values of the client protocol for tests: made at random from the tables that the codecs read, and judged by another library. */
import { Centrifuge as CentrifugeProtobuf } from "centrifuge/build/protobuf"
import { Message } from "effect-ws"
import {
  Command,
  type Field,
  JsonText,
  type MessageType,
  Reply,
  type Scalar,
  type ValueOf
} from "../../src/internal/centrifuge/schema.ts"
import type { Choices } from "../fuzz/random.ts"

/** The codec of the npm package `centrifuge`. */
export const judge = (new CentrifugeProtobuf("ws://127.0.0.1", { websocket: Object }) as unknown as {
  readonly _codec: {
    readonly encodeCommands: (values: ReadonlyArray<object>) => Uint8Array
    readonly decodeCommands: (bytes: Uint8Array) => ReadonlyArray<object>
    readonly encodeReplies: (values: ReadonlyArray<object>) => Uint8Array
    readonly decodeReplies: (bytes: Uint8Array) => ReadonlyArray<object>
  }
})._codec

export const types = { Command, Reply } as const

export const bounds = { maxSize: 65_536, maxCount: 100 }

/** A received message with this content. */
export const received = (input: string | Uint8Array): Message.Message =>
  typeof input === "string" ? Message.text(input) : Message.binary(input)

/** Names of map entries: without "__proto__", which the judge drops. */
const keys = ["", "room:lobby", "a\nb", "é€😀", "constructor"]

const texts = ["", "room:lobby", "a\nb", "\"\\", "é€😀", "__proto__", "constructor", "x".repeat(300)]

const payloads = [0, -1.5, "", "a\nb", true, null, [], {}, { a: [1, { b: "€" }] }, ["\u2028"]]

const anyScalar: Readonly<Record<Scalar, (choices: Choices) => unknown>> = {
  string: (choices) => choices.pick(texts),
  bool: (choices) => choices.oneIn(2),
  uint32: (choices) => choices.pick([0, 1, 127, 128, 2 ** 31, 2 ** 32 - 1]),
  int32: (choices) => choices.pick([0, 1, -1, 2 ** 31 - 1, -(2 ** 31)]),
  int64: (choices) => choices.pick([0, 1, -1, 2 ** 40, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER]),
  uint64: (choices) => choices.pick([0, 1, 300, 2 ** 32, 2 ** 40, Number.MAX_SAFE_INTEGER]),
  payload: (choices) => JsonText.of(choices.pick(payloads)),
  opaque: () => undefined
}

const anyOf = (type: Field["type"], choices: Choices): unknown =>
  typeof type === "object" ? anyMessage(type, choices) : anyScalar[type](choices)

const several = (choices: Choices, make: () => unknown): Array<unknown> =>
  Array.from({ length: 1 + choices.below(3) }, make)

/** Any value of a type, with payloads as they are before encoding. */
const anyMessage = (type: MessageType, choices: Choices): object =>
  Object.fromEntries(
    type.entries.flatMap(([name, { kind, type: fieldType }]) => {
      if (!choices.oneIn(3)) return []
      const value = kind === "one"
        ? anyOf(fieldType, choices)
        : kind === "many"
        ? several(choices, () => anyOf(fieldType, choices))
        : Object.fromEntries(several(choices, () => [choices.pick(keys), anyOf(fieldType, choices)]) as never)
      return value === undefined ? [] : [[name, value]]
    })
  )

export const anyValues = <M extends MessageType>(type: M, choices: Choices): ReadonlyArray<ValueOf<M>> =>
  Array.from({ length: 1 + choices.below(3) }, () => anyMessage(type, choices) as ValueOf<M>)

/** The value that a codec reads: payloads as `read` returns them, and nothing where Protobuf writes nothing. */
export const decodedForm = (value: unknown, read: (payload: JsonText) => unknown): unknown => {
  if (value instanceof JsonText) return read(value)
  if (Array.isArray(value)) return value.map((item) => decodedForm(item, read))
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, decodedForm(item, read)]))
}
