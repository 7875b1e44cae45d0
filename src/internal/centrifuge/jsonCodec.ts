/** The JSON form of the client protocol: values in lines. */
import * as Result from "effect/Result"
import { utf8Length } from "#platform"
import { type Bounds, type Codec, Malformed } from "./codec.ts"
import { type Field, JsonText, type MessageType, type Scalar, type ValueOf } from "./schema.ts"

export const jsonCodec: Codec = {
  name: "json",
  subprotocol: "centrifuge-json",
  decode: (type, message, bounds) => {
    if (message._tag !== "Text") return syntax
    const lines = splitLines(message.text, bounds)
    if (lines instanceof Malformed) return Result.fail(lines)
    const values: Array<ValueOf<typeof type>> = []
    for (const line of lines) {
      let parsed: unknown
      try {
        parsed = JSON.parse(line)
      } catch {
        return syntax
      }
      const value = readMessage(type, parsed)
      if (value === invalid) return syntax
      values.push(value as ValueOf<typeof type>)
    }
    return Result.succeed(values)
  },
  encode: (_type, values) => values.map(write).join("\n"),
  payload: Result.succeed
}

const syntax = Result.fail(new Malformed("Syntax"))

const splitLines = (text: string, { maxCount, maxSize }: Bounds): ReadonlyArray<string> | Malformed => {
  const lines: Array<string> = []
  for (let from = 0; from < text.length;) {
    const newline = text.indexOf("\n", from)
    const to = newline < 0 ? text.length : newline
    const line = text.slice(from, to)
    from = to + 1
    if (line.trim() === "") continue
    if (lines.length === maxCount) return new Malformed("TooMany")
    if (isLonger(line, maxSize)) return new Malformed("TooLarge")
    lines.push(line)
  }
  return lines.length === 0 ? new Malformed("Syntax") : lines
}

/** UTF-8 takes 1 to 3 bytes for each unit of a string. */
const isLonger = (line: string, maxSize: number): boolean =>
  line.length > maxSize || (line.length * 3 > maxSize && utf8Length(line) > maxSize)

// -----------------------------------------------------------------------------
// Reading
// -----------------------------------------------------------------------------

const invalid: unique symbol = Symbol("invalid")

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** Keeps the known fields of a parsed value, if their types are right. As in Protobuf's own JSON form, null is an absent field. */
const readMessage = (type: MessageType, value: unknown): object | typeof invalid => {
  if (!isRecord(value)) return invalid
  const result: Record<string, unknown> = {}
  for (const [name, field] of type.entries) {
    if (!Object.hasOwn(value, name)) continue
    const found = value[name]
    if (found === null && field.type !== "payload") continue
    const read = readField(field, found)
    if (read === invalid) return invalid
    result[name] = read
  }
  return result
}

const readField = ({ kind, type }: Field, value: unknown): unknown => {
  if (kind === "one") return readType(type, value)
  if (kind === "many") {
    if (!Array.isArray(value)) return invalid
    const items = value.map((item) => readType(type, item))
    return items.includes(invalid) ? invalid : items
  }
  if (!isRecord(value)) return invalid
  const entries = Object.entries(value).map(([key, item]) => [key, readType(type, item)] as const)
  return entries.some(([, item]) => item === invalid) ? invalid : Object.fromEntries(entries)
}

const readType = (type: Field["type"], value: unknown): unknown =>
  typeof type === "object" ? readMessage(type, value) : isScalar[type](value) ? value : invalid

const integer = (min: number, max: number) => (value: unknown): boolean =>
  Number.isInteger(value) && (value as number) >= min && (value as number) <= max

const isScalar: Readonly<Record<Scalar, (value: unknown) => boolean>> = {
  string: (value) => typeof value === "string",
  bool: (value) => typeof value === "boolean",
  uint32: integer(0, 2 ** 32 - 1),
  int32: integer(-(2 ** 31), 2 ** 31 - 1),
  int64: integer(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
  uint64: integer(0, Number.MAX_SAFE_INTEGER),
  payload: () => true,
  opaque: () => true
}

// -----------------------------------------------------------------------------
// Writing
// -----------------------------------------------------------------------------

/** A line break in a payload would end the value: in JSON it is white space, outside strings. */
const onOneLine = (text: string): string => text.includes("\n") ? text.replaceAll("\n", " ") : text

const write = (value: unknown): string => {
  if (value instanceof JsonText) return onOneLine(value.text)
  if (Array.isArray(value)) return `[${value.map(write).join(",")}]`
  if (typeof value !== "object" || value === null) return JSON.stringify(value)
  const members: Array<string> = []
  for (const [name, member] of Object.entries(value)) {
    if (member !== undefined) members.push(`${JSON.stringify(name)}:${write(member)}`)
  }
  return `{${members.join(",")}}`
}
