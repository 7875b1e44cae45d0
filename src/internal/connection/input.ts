/**
 * Checks the values that programs send, before anything else is done with them.
 * The types exclude most invalid values, but not those from JSON, from JavaScript
 * and from transferred buffers, with which the socket or zlib would write garbage
 * or crash the process.
 *
 * No check depends on a class of this realm: strings and bytes of other realms
 * (`vm`, the DOM environments of test runners) and messages of another copy of
 * this package are valid.
 */
import * as Effect from "effect/Effect"
import { hostBytesPrototype, isProxy, isSharedArrayBuffer, isUint8Array, utf8Length } from "#platform"
import { InvalidInput } from "../../ConnectionError.ts"
import type * as Message from "../../Message.ts"
import { Frame, Opcode } from "../protocol/frame.ts"
import { Text } from "../protocol/message.ts"

// -----------------------------------------------------------------------------
// Bytes
// -----------------------------------------------------------------------------

const typedArray = Object.getPrototypeOf(Uint8Array.prototype) as object
const getter = <A>(name: string) =>
  Object.getOwnPropertyDescriptor(typedArray, name)!.get as unknown as { call(view: Uint8Array): A }
const lengthOf = getter<number>("length")
const offsetOf = getter<number>("byteOffset")
const bufferOf = getter<ArrayBuffer>("buffer")
const indexOf = Uint8Array.prototype.indexOf

/**
 * Whether an empty view has lost its buffer: it was transferred, or has become
 * too short for the offset of the view.
 */
const isDetached = (view: Uint8Array): boolean => {
  if (lengthOf.call(view) > 0) return false
  try {
    indexOf.call(view, 0)
    return false
  } catch {
    return true
  }
}

const isOrdinary = (view: Uint8Array): boolean => {
  const prototype = Object.getPrototypeOf(view) as object
  return (prototype === Uint8Array.prototype || prototype === hostBytesPrototype) && !Object.hasOwn(view, "length")
}

/**
 * Returns the bytes of a Uint8Array of any realm. A subclass, in which the
 * length may be wrong, is replaced by a plain view.
 */
export const bytesOf = (value: unknown): Uint8Array | undefined => {
  if (!isUint8Array(value)) return undefined
  if (isOrdinary(value)) return value.length === 0 && isDetached(value) ? undefined : value
  if (isDetached(value)) return undefined
  return new Uint8Array(bufferOf.call(value), offsetOf.call(value), lengthOf.call(value))
}

/** Whether a buffer keeps its size while it is attached, and no other thread writes to it. */
export const isFixed = ({ buffer }: Uint8Array): boolean =>
  !("resizable" in buffer && buffer.resizable) && !isSharedArrayBuffer(buffer)

// -----------------------------------------------------------------------------
// Errors
// -----------------------------------------------------------------------------

/** Describes a value. It does not call functions of the value, which may throw. */
export const describe = (value: unknown): string => {
  if (value === null || value === undefined) return String(value)
  if (typeof value === "number" || typeof value === "boolean") return `the ${typeof value} ${value}`
  if (typeof value !== "object") return `a ${typeof value}`
  if (isProxy(value)) return "a Proxy"
  if (isUint8Array(value) && isDetached(value)) return "a Uint8Array whose buffer is detached"
  try {
    return describeTag(Object.prototype.toString.call(value))
  } catch {
    return "an object"
  }
}

/** Turns "[object ArrayBuffer]" into words. */
const describeTag = (tag: string): string => {
  const name = tag.slice("[object ".length, -1)
  return name === "Object" ? "an object" : `${/^[AEIOU]/.test(name) ? "an" : "a"} ${name}`
}

const invalid = (what: InvalidInput["what"], expected: string, value: unknown): InvalidInput =>
  new InvalidInput({ what, expected, received: describe(value) })

/**
 * Fails with an `InvalidInput`. The types of the functions that send do not
 * include it: values of their parameter types do not lead to it, and all
 * programs would have to handle it.
 */
export const failInvalid = (problem: InvalidInput): Effect.Effect<never> =>
  Effect.fail(problem) as unknown as Effect.Effect<never>

// -----------------------------------------------------------------------------
// Messages
// -----------------------------------------------------------------------------

/** A message that was checked. Strings are kept, because short ones are encoded where they are written. */
export type Sendable = string | Frame

export const toFrame = (message: Sendable): Frame =>
  typeof message === "string" ? new Frame(Opcode.Text, new Text(message).bytes) : message

const messageTypes = "a string, a Uint8Array or a Message"

/** Checks a message. It is the only function that reads a message of a program. */
export const sendableOf = (message: unknown): Sendable | InvalidInput => {
  if (typeof message === "string") return message
  try {
    const frame = frameOf(message)
    if (frame !== undefined) return frame
  } catch {
    // A getter of the value throws: it is not a message.
  }
  return invalid("message", messageTypes, message)
}

const frameOf = (message: unknown): Frame | undefined => {
  const plain = bytesOf(message)
  if (plain !== undefined) return new Frame(Opcode.Binary, plain)
  if (typeof message !== "object" || message === null || isProxy(message)) return undefined
  const { _tag, bytes } = message as Partial<Message.Message>
  const opcode = _tag === "Text" ? Opcode.Text : _tag === "Binary" ? Opcode.Binary : undefined
  const payload = bytesOf(bytes)
  return opcode === undefined || payload === undefined ? undefined : new Frame(opcode, payload)
}

/** Checks several messages. */
export const sendablesOf = (messages: unknown): ReadonlyArray<Sendable> | InvalidInput => {
  const expected = `an array of which each element is ${messageTypes}`
  try {
    if (!Array.isArray(messages)) return invalid("messages", expected, messages)
    const sendables: Array<Sendable> = []
    for (const message of messages) {
      const sendable = sendableOf(message)
      if (sendable instanceof InvalidInput) return sendable
      sendables.push(sendable)
    }
    return sendables
  } catch {
    return invalid("messages", expected, messages)
  }
}

/** Copies a message that was checked, so that it can be sent later. */
export const copyOf = (message: Message.Input): Message.Input => {
  const sendable = sendableOf(message)
  if (!(sendable instanceof Frame)) return message
  const bytes = sendable.payload.slice()
  return sendable.opcode === Opcode.Text ? new Text(bytes) : bytes
}

/** Returns the size of a message that was checked, in bytes. */
export const sizeOf = (message: Message.Input): number => {
  const sendable = sendableOf(message)
  if (sendable instanceof InvalidInput) return 0
  return typeof sendable === "string" ? utf8Length(sendable) : sendable.payload.length
}

/** Returns an error if the buffer of a frame was transferred while the frame waited. */
export const findDetached = (frames: ReadonlyArray<Frame>): InvalidInput | undefined => {
  for (let i = 0; i < frames.length; i++) {
    const { payload } = frames[i]
    if (payload.length === 0 && isDetached(payload)) {
      return invalid("message", "bytes whose buffer is not transferred before `send` has returned", payload)
    }
  }
  return undefined
}

// -----------------------------------------------------------------------------
// Other values
// -----------------------------------------------------------------------------

const encoder = new TextEncoder()

/** Checks the payload of a ping or a fragment. */
export const payloadOf = (what: "ping payload" | "fragment", value: unknown): string | Uint8Array | InvalidInput => {
  if (typeof value === "string") return value
  return bytesOf(value) ?? invalid(what, "a string or a Uint8Array", value)
}

/** Checks and copies the payload of a ping, with which the pong is compared. */
export const pingPayloadOf = (value: unknown): Uint8Array | InvalidInput => {
  const payload = payloadOf("ping payload", value)
  if (payload instanceof InvalidInput) return payload
  return typeof payload === "string" ? encoder.encode(payload) : payload.slice()
}

/** Checks the types of a close code and reason. */
export const closeProblemOf = (code: unknown, reason: unknown): InvalidInput | undefined =>
  typeof code !== "number"
    ? invalid("close code", "a number", code)
    : typeof reason !== "string"
    ? invalid("close reason", "a string", reason)
    : undefined

const opcodes: ReadonlySet<unknown> = new Set(Object.values(Opcode))

/** Checks a frame, of any copy of this package, and copies its fields. */
export const frameFrom = (value: unknown): Frame | InvalidInput => {
  const expected = "a Frame with an opcode, a Uint8Array, fin and reserved bits from 0 to 7"
  try {
    const { fin, opcode, payload, reserved } = value as Frame
    const bytes = bytesOf(payload)
    if (
      bytes !== undefined && typeof fin === "boolean" && opcodes.has(opcode) &&
      Number.isInteger(reserved) && reserved >= 0 && reserved <= 7
    ) return new Frame(opcode, bytes, fin, reserved)
  } catch {
    // It is not an object, or has a getter that throws.
  }
  return invalid("frame", expected, value)
}
