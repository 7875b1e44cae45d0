/**
 * What processes send each other through Redis. An event is a line of text, which
 * a script of Redis writes, and a body, which a process writes:
 *
 * ```text
 * 1 P <epoch> <offset>\n            a publication, and its body
 * 1 J <epoch> <offset> <version>\n  a member has joined, and its body
 * 1 L <epoch> <offset> <version>\n  a member has left, and its body
 * ```
 *
 * The first number is the version of the format. A body has two parts: the length
 * of the first as four bytes, the first, and the second: info and data of a
 * publication, id and info of a member.
 */
import type * as Broker from "../../Broker.ts"

const formatVersion = "1"
const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** An event that this version of the library cannot read. */
export const unreadable = "unreadable"

/** Stands for a publication without info, which is not one with empty info. */
const noInfo = 0xffffffff

const join = (length: number, first: Uint8Array, second: Uint8Array): Uint8Array => {
  const body = new Uint8Array(4 + first.length + second.length)
  new DataView(body.buffer).setUint32(0, length)
  body.set(first, 4)
  body.set(second, 4 + first.length)
  return body
}

const split = (body: Uint8Array): readonly [Uint8Array | undefined, Uint8Array] | undefined => {
  if (body.length < 4) return undefined
  const length = new DataView(body.buffer, body.byteOffset).getUint32(0)
  if (length === noInfo) return [undefined, body.subarray(4)]
  return length > body.length - 4 ? undefined : [body.subarray(4, 4 + length), body.subarray(4 + length)]
}

const nothing = new Uint8Array()

export const encodePayload = ({ data, info }: Broker.Payload): Uint8Array =>
  info === undefined ? join(noInfo, nothing, data) : join(info.length, info, data)

export const decodePayload = (body: Uint8Array): Broker.Payload | undefined => {
  const parts = split(body)
  return parts && { data: parts[1], info: parts[0] }
}

export const encodeMember = ({ id, info }: Broker.Member): Uint8Array => {
  const bytes = encoder.encode(id)
  return join(bytes.length, bytes, info)
}

export const decodeMember = (body: Uint8Array): Broker.Member | undefined => {
  const parts = split(body)
  return parts?.[0] && { id: decoder.decode(parts[0]), info: parts[1] }
}

const newline = 0x0a

/** Returns -1 for a text that is not a number of messages or changes. */
const parseCount = (text: string): number => {
  const count = /^\d+$/.test(text) ? Number(text) : -1
  return Number.isSafeInteger(count) ? count : -1
}

export const decodeEvent = (message: Uint8Array): Broker.Event | typeof unreadable => {
  const end = message.indexOf(newline)
  const [format, kind, epoch, ...numbers] = decoder.decode(message.subarray(0, Math.max(0, end))).split(" ")
  const [offset = -1, version = -1] = numbers.map(parseCount)
  if (format !== formatVersion || offset < 0) return unreadable
  const position = { epoch, offset }
  const body = message.subarray(end + 1)
  if (kind === "P") {
    const payload = decodePayload(body)
    return payload === undefined ? unreadable : { _tag: "Publication", ...position, ...payload }
  }
  const member = decodeMember(body)
  if (member === undefined || version < 1 || kind !== "J" && kind !== "L") return unreadable
  return { _tag: kind === "J" ? "Joined" : "Left", ...position, ...member, version }
}
