/** Values of topics as bytes, and events as text messages in JSON: `Topic.event` is the schema of the latter. */
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { InvalidValue } from "../../ConnectionError.ts"
import type * as Topic from "../../Topic.ts"
import type { Payload } from "../connection/sharedMessage.ts"
import { encodeText } from "../runtime/buffers.ts"
import type { ChannelOptions } from "./channel.ts"
import { missedBy } from "./channel.ts"
import type { ChannelEvent, Format, SubscribedEvent } from "./entry.ts"
import { valueOf } from "./identity.ts"

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** Encodes and decodes the values of a schema as JSON in UTF-8. */
export interface ValueCodec<A> {
  readonly encode: (value: A) => Result.Result<Uint8Array, InvalidValue>
  /** None for bytes that are not a value of the schema: another version of the program may have published them. */
  readonly decode: (bytes: Uint8Array) => Option.Option<A>
  /** The same for JSON that was parsed. */
  readonly decodeJson: (json: unknown) => Option.Option<A>
}

/** `toBytes` encodes texts. */
const makeValueCodec = <A>(
  schema: Schema.ConstraintCodec<A, unknown>,
  toBytes: (text: string) => Uint8Array
): ValueCodec<A> => {
  const codec = Schema.toCodecJson(schema) as unknown as Schema.Codec<A, unknown>
  const encodeValue = Schema.encodeUnknownResult(codec)
  const decodeValue = Schema.decodeUnknownOption(codec)
  return {
    decodeJson: decodeValue,
    encode: (value) => {
      const encoded = encodeValue(value)
      if (Result.isFailure(encoded)) return Result.fail(new InvalidValue({ value, cause: encoded.failure }))
      // The type does not say that it may be undefined.
      const text: string | undefined = JSON.stringify(encoded.success)
      return text === undefined
        ? Result.fail(new InvalidValue({ value, cause: new TypeError("JSON has no form for this value") }))
        : Result.succeed(toBytes(text))
    },
    decode: (bytes) => {
      try {
        return decodeValue(JSON.parse(decoder.decode(valueOf(bytes))))
      } catch {
        return Option.none()
      }
    }
  }
}

/** What is derived from a topic, once. */
export interface TopicCodec<M, P> {
  readonly message: ValueCodec<M>
  /** Undefined if the topic has no presence. */
  readonly member: ValueCodec<P> | undefined
  readonly channel: ChannelOptions
}

const codecs = new WeakMap<object, TopicCodec<never, never>>()

export const codecOf = <Args extends Readonly<Record<string, string>>, M, P>(
  topic: Topic.Topic<Args, M, P>
): TopicCodec<M, P> => {
  let codec = codecs.get(topic) as unknown as TopicCodec<M, P> | undefined
  if (codec === undefined) {
    // What a history or presence keeps must not keep the memory of other values.
    const encode = (text: string) => encoder.encode(text)
    const message = makeValueCodec(topic.message, topic.history === undefined ? encodeText : encode)
    codec = {
      message,
      member: topic.member && makeValueCodec(topic.member, encode),
      channel: {
        historySize: topic.history?.size ?? 0,
        hasPresence: topic.member !== undefined,
        slowConsumer: topic.slowConsumer,
        key: keyOf(topic, message)
      }
    }
    codecs.set(topic, codec as unknown as TopicCodec<never, never>)
  }
  return codec
}

/** Messages that cannot be decoded, and all messages of a topic without `key`, have one key. */
const keyOf = <M>({ key }: { readonly key: ((message: M) => string) | undefined }, { decode }: ValueCodec<M>) =>
  key === undefined
    ? () => ""
    : (data: Uint8Array): string => Option.match(decode(data), { onNone: () => "", onSome: key })

// -- events as JSON -------------------------------------------------------------

const position = ({ epoch, offset }: Topic.Position): string => `{"epoch":${JSON.stringify(epoch)},"offset":${offset}}`

const member = ({ id, info }: { readonly id: string; readonly info: Uint8Array }): string =>
  `"id":${JSON.stringify(id)},"member":${decoder.decode(valueOf(info))}`

/** The text of an event. Messages and members are JSON already. */
const encodeEvent = (event: Exclude<ChannelEvent, SubscribedEvent>): Payload => {
  switch (event._tag) {
    case "Publication":
      return [`{"_tag":"Message","position":${position(event)},"message":`, event.data, "}"]
    case "Gap": {
      const missed = missedBy(event)
      const count = missed === undefined ? "" : `,"missed":${missed}`
      return `{"_tag":"Gap","from":${position(event.from)},"to":${position(event.to)}${count}}`
    }
    case "Joined":
    case "Left":
      return `{"_tag":"${event._tag}",${member(event)}}`
  }
}

export const encodeSubscribed = (event: Pick<SubscribedEvent, "members" | "position">): string => {
  const members = event.members.map((one) => `{${member(one)}}`).join(",")
  return `{"_tag":"Subscribed","position":${position(event.position)},"members":[${members}]}`
}

/** Events as text messages, as `Topics.deliver` sends them. */
export const jsonFormat: Format = {
  encode: (_, event) => {
    if (event._tag === "Subscribed") return encodeSubscribed(event)
    return event._tag === "Gap" && event.isLossless === true ? undefined : encodeEvent(event)
  }
}
