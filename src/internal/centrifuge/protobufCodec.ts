/** The Protobuf form of the client protocol: values with their lengths before them. Only `TopicProtobuf` loads this module. */
import * as Result from "effect/Result"
import protobuf from "protobufjs/minimal.js"
import { type Codec, Malformed } from "./codec.ts"
import type { Field, JsonText, MessageType, Scalar, ValueOf } from "./schema.ts"

type Reader = protobuf.Reader
type Writer = protobuf.Writer

export const protobufCodec: Codec = {
  name: "protobuf",
  subprotocol: "centrifuge-protobuf",
  decode: (type, message, bounds) => {
    if (message._tag !== "Binary" || message.bytes.length === 0) return syntax
    const reader = new protobuf.Reader(message.bytes)
    const values: Array<ValueOf<typeof type>> = []
    try {
      while (reader.pos < reader.len) {
        if (values.length === bounds.maxCount) return Result.fail(new Malformed("TooMany"))
        const length = reader.uint32()
        if (length > bounds.maxSize) return Result.fail(new Malformed("TooLarge"))
        values.push(readMessage(type, reader, endOf(reader, length)) as ValueOf<typeof type>)
      }
    } catch {
      return syntax
    }
    return Result.succeed(values)
  },
  encode: (type, values) => {
    const writer = protobuf.Writer.create()
    for (const value of values) writeMessage(type, value as Record<string, unknown>, writer.fork()).ldelim()
    return writer.finish()
  },
  payload: (decoded) => {
    if (decoded === undefined) return Result.succeed(undefined)
    try {
      return Result.succeed(JSON.parse(utf8.decode(decoded as Uint8Array)))
    } catch {
      return syntax
    }
  }
}

const syntax = Result.fail(new Malformed("Syntax"))
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
const utf8Encoder = new TextEncoder()

// -----------------------------------------------------------------------------
// Reading: each function throws for malformed bytes
// -----------------------------------------------------------------------------

const endOf = (reader: Reader, length: number): number => {
  const end = reader.pos + length
  if (end > reader.len) throw new RangeError("a length beyond the end")
  return end
}

const wireTypeOf = (type: Field["type"]): number =>
  typeof type === "object" || type === "string" || type === "payload" || type === "opaque" ? 2 : 0

const readMessage = (type: MessageType, reader: Reader, end: number): object => {
  const result: Record<string, unknown> = {}
  while (reader.pos < end) {
    const tag = reader.uint32()
    const entry = type.byNumber.get(tag >>> 3)
    if (entry === undefined || (tag & 7) !== (entry[1].kind === "one" ? wireTypeOf(entry[1].type) : 2)) {
      reader.skipType(tag & 7)
    } else {
      readField(entry[0], entry[1], reader, result)
    }
  }
  if (reader.pos !== end) throw new RangeError("a field beyond the end of its message")
  return result
}

const readField = (name: string, { kind, type }: Field, reader: Reader, result: Record<string, unknown>): void => {
  if (kind === "one") result[name] = readType(type, reader)
  else if (kind === "many") ((result[name] ??= []) as Array<unknown>).push(readType(type, reader))
  else readEntry(type, reader, (result[name] ??= {}) as Record<string, unknown>)
}

/** An entry of a map is a message of a key, 1, and a value, 2. */
const readEntry = (type: Field["type"], reader: Reader, map: Record<string, unknown>): void => {
  const end = endOf(reader, reader.uint32())
  let key = ""
  let value: unknown = typeof type === "object" ? {} : ""
  while (reader.pos < end) {
    const tag = reader.uint32()
    if (tag === 10) key = readType("string", reader) as string
    else if (tag === 18) value = readType(type, reader)
    else reader.skipType(tag & 7)
  }
  if (reader.pos !== end) throw new RangeError("an entry beyond its end")
  Object.defineProperty(map, key, { value, enumerable: true, configurable: true, writable: true })
}

const readType = (type: Field["type"], reader: Reader): unknown =>
  typeof type === "object" ? readMessage(type, reader, endOf(reader, reader.uint32())) : readScalar[type](reader)

const readBytes = (reader: Reader): Uint8Array => {
  const end = endOf(reader, reader.uint32())
  const bytes = reader.buf.subarray(reader.pos, end)
  reader.pos = end
  return bytes
}

/** The types promise instances of the class Long, but without that library they are numbers. */
const toSafe = (value: unknown): number => {
  const number = typeof value === "number" ? value : (value as { readonly toNumber: () => number }).toNumber()
  if (!Number.isSafeInteger(number)) throw new RangeError("an integer above 2^53")
  return number
}

const readScalar: Readonly<Record<Scalar, (reader: Reader) => unknown>> = {
  string: (reader) => utf8.decode(readBytes(reader)),
  bool: (reader) => reader.bool(),
  uint32: (reader) => reader.uint32(),
  int32: (reader) => reader.int32(),
  int64: (reader) => toSafe(reader.int64()),
  uint64: (reader) => toSafe(reader.uint64()),
  // As proto3 has no absent bytes, an empty payload is an absent one.
  payload: (reader) => {
    const bytes = readBytes(reader)
    return bytes.length === 0 ? undefined : bytes
  },
  opaque: readBytes
}

// -----------------------------------------------------------------------------
// Writing
// -----------------------------------------------------------------------------

const writeMessage = (type: MessageType, value: Readonly<Record<string, unknown>>, writer: Writer): Writer => {
  for (const [name, { kind, number, type: fieldType }] of type.entries) {
    const field = value[name]
    if (field === undefined) continue
    if (kind === "one") writeField(number, fieldType, field, writer)
    else if (kind === "many") {
      for (const item of field as ReadonlyArray<unknown>) writeField(number, fieldType, item, writer)
    } else {
      for (const [key, item] of Object.entries(field as object)) {
        writer.uint32(tagOf(number, 2)).fork()
        writeField(1, "string", key, writer)
        writeField(2, fieldType, item, writer)
        writer.ldelim()
      }
    }
  }
  return writer
}

const tagOf = (number: number, wireType: number): number => ((number << 3) | wireType) >>> 0

const writeField = (number: number, type: Field["type"], value: unknown, writer: Writer): void => {
  writer.uint32(tagOf(number, wireTypeOf(type)))
  if (typeof type === "object") writeMessage(type, value as Record<string, unknown>, writer.fork()).ldelim()
  else writeScalar[type](writer, value as never)
}

const writeScalar: Readonly<Record<Scalar, (writer: Writer, value: never) => unknown>> = {
  string: (writer, value: string) => writer.bytes(utf8Encoder.encode(value)),
  bool: (writer, value: boolean) => writer.bool(value),
  uint32: (writer, value: number) => writer.uint32(value),
  int32: (writer, value: number) => writer.int32(value),
  int64: (writer, value: number) => writer.int64(value),
  uint64: (writer, value: number) => writer.uint64(value),
  payload: (writer, value: JsonText) => writer.bytes(utf8Encoder.encode(value.text)),
  opaque: (writer, value: Uint8Array) => writer.bytes(value)
}
