/** What others see of a client, as a publisher or as a member: in brokers, JSON in the form of the protocol. */
import * as Result from "effect/Result"
import type * as Broker from "../../Broker.ts"
import type { Client } from "../../TopicServer.ts"
import { decodeText, Text } from "../protocol/message.ts"
import { identityOf, valueOf, withIdentity } from "../topics/identity.ts"
import { jsonCodec } from "./jsonCodec.ts"
import { ClientInfo, JsonText } from "./schema.ts"

const encoder = new TextEncoder()
const bounds = { maxSize: Number.POSITIVE_INFINITY, maxCount: 1 }

const encode = (info: ClientInfo): Uint8Array => encoder.encode(jsonCodec.encode(ClientInfo, [info]) as string)

/** Returns undefined for other bytes, which another program has published. */
const decode = (bytes: Uint8Array): ClientInfo | undefined => {
  const decoded = jsonCodec.decode(ClientInfo, new Text(bytes), bounds)
  return Result.isSuccess(decoded) ? decoded.success[0] : undefined
}

const textOf = (payload: unknown): JsonText | undefined => payload === undefined ? undefined : JsonText.of(payload)

// -----------------------------------------------------------------------------
// Publishers
// -----------------------------------------------------------------------------

/** The publisher that goes with a message. A subscriber that is a member is known by that value too. */
export const publisherOf = ({ id, info, user }: Client, member: Uint8Array | undefined): Uint8Array =>
  encode({
    user,
    client: id,
    conn_info: textOf(info),
    chan_info: member === undefined ? undefined : new JsonText(decodeText(member))
  })

export const decodePublisher = (bytes: Uint8Array | undefined): ClientInfo | undefined => {
  const info = bytes === undefined ? undefined : decode(bytes)
  return info === undefined
    ? undefined
    : { ...info, conn_info: textOf(info.conn_info), chan_info: textOf(info.chan_info) }
}

// -----------------------------------------------------------------------------
// Members
// -----------------------------------------------------------------------------

export const memberOf = ({ id, info, user }: Client, value: Uint8Array): Broker.Member => ({
  id,
  info: withIdentity(value, encode({ user, conn_info: textOf(info) }))
})

/** A member that a program has joined is not of a user. */
export const decodeMember = ({ id, info }: Broker.Member): ClientInfo => {
  const identity = identityOf(info)
  const { conn_info, user = "" } = (identity === undefined ? undefined : decode(identity)) ?? {}
  return { user, client: id, conn_info: textOf(conn_info), chan_info: new JsonText(decodeText(valueOf(info))) }
}
