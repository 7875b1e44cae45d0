/**
 * The messages of the client protocol, as data: the names of their fields, which JSON uses, the numbers, which Protobuf uses,
 * and the types. Both codecs read these tables, so that a field is described once.
 *
 * Source: `definitions/client.proto` of the public protocol, version 2. Fields that this library neither reads nor writes are
 * left out: decoders skip them.
 */

/** The types of fields that are not messages. A payload is a JSON value in JSON, and the UTF-8 of JSON in Protobuf. */
export type Scalar = "string" | "bool" | "uint32" | "int32" | "int64" | "uint64" | "payload" | "opaque"

export type Kind = "one" | "many" | "map"

export interface Field {
  readonly number: number
  readonly type: Scalar | MessageType
  readonly kind: Kind
}

export type Fields = Readonly<Record<string, Field>>

/** A message's fields, by name and by number. */
export interface MessageType<F extends Fields = Fields> {
  readonly fields: F
  readonly entries: ReadonlyArray<readonly [name: string, field: Field]>
  readonly byNumber: ReadonlyMap<number, readonly [name: string, field: Field]>
}

/** JSON text that is written as it is: a payload on its way out. */
export class JsonText {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }

  static of(value: unknown): JsonText {
    return new JsonText(JSON.stringify(value) ?? "null")
  }
}

type ScalarValue<S extends Scalar> = S extends "string" ? string
  : S extends "bool" ? boolean
  : S extends "payload" | "opaque" ? unknown
  : number

type TypeValue<T> = T extends MessageType<infer F> ? Value<F> : T extends Scalar ? ScalarValue<T> : never

type FieldValue<F> = F extends { readonly type: infer T; readonly kind: infer K }
  ? K extends "many" ? ReadonlyArray<TypeValue<T>>
  : K extends "map" ? Readonly<Record<string, TypeValue<T>>>
  : TypeValue<T>
  : never

type Value<F extends Fields> = { readonly [K in keyof F]?: FieldValue<F[K]> | undefined }

/** The value of a message: every field may be absent. */
export type ValueOf<M> = M extends MessageType<infer F> ? Value<F> : never

const message = <const F extends Fields>(fields: F): MessageType<F> => ({
  fields,
  entries: Object.entries(fields),
  byNumber: new Map(Object.entries(fields).map((entry) => [entry[1].number, entry]))
})

const one = <const T extends Scalar | MessageType>(number: number, type: T) => ({ number, type, kind: "one" as const })
const many = <const T extends MessageType>(number: number, type: T) => ({ number, type, kind: "many" as const })
const map = <const T extends "string" | MessageType>(number: number, type: T) => ({
  number,
  type,
  kind: "map" as const
})

// -----------------------------------------------------------------------------
// Parts
// -----------------------------------------------------------------------------

const ErrorInfo = message({ code: one(1, "uint32"), message: one(2, "string"), temporary: one(3, "bool") })

export const ClientInfo = message({
  user: one(1, "string"),
  client: one(2, "string"),
  conn_info: one(3, "payload"),
  chan_info: one(4, "payload")
})

export const Publication = message({
  data: one(4, "payload"),
  info: one(5, ClientInfo),
  offset: one(6, "uint64"),
  tags: map(7, "string")
})

const StreamPosition = message({ offset: one(1, "uint64"), epoch: one(2, "string") })

const Channel = message({ channel: one(1, "string") })

const Expiry = message({
  client: one(1, "string"),
  version: one(2, "string"),
  expires: one(3, "bool"),
  ttl: one(4, "uint32")
})

const Empty = message({})

// -----------------------------------------------------------------------------
// Commands, from the client
// -----------------------------------------------------------------------------

const SubscribeRequest = message({
  channel: one(1, "string"),
  token: one(2, "string"),
  recover: one(3, "bool"),
  epoch: one(6, "string"),
  offset: one(7, "uint64"),
  data: one(8, "payload"),
  positioned: one(9, "bool"),
  recoverable: one(10, "bool"),
  join_leave: one(11, "bool"),
  delta: one(12, "string"),
  tf: one(13, "opaque"),
  flag: one(14, "int64"),
  type: one(15, "int32")
})

const ConnectRequest = message({
  token: one(1, "string"),
  data: one(2, "payload"),
  subs: map(3, SubscribeRequest),
  name: one(4, "string"),
  version: one(5, "string"),
  headers: map(6, "string")
})

const PublishRequest = message({
  channel: one(1, "string"),
  data: one(2, "payload"),
  type: one(3, "int32"),
  key: one(4, "string"),
  removed: one(5, "bool"),
  // Not in the public protocol: servers without it skip the field.
  idempotency_key: one(1001, "string")
})

export const Command = message({
  id: one(1, "uint32"),
  connect: one(4, ConnectRequest),
  subscribe: one(5, SubscribeRequest),
  unsubscribe: one(6, Channel),
  publish: one(7, PublishRequest),
  presence: one(8, Channel),
  presence_stats: one(9, Channel),
  history: one(
    10,
    message({
      channel: one(1, "string"),
      limit: one(7, "int32"),
      since: one(8, StreamPosition),
      reverse: one(9, "bool")
    })
  ),
  ping: one(11, Empty),
  send: one(12, message({ data: one(1, "payload") })),
  rpc: one(13, message({ data: one(1, "payload"), method: one(2, "string") })),
  refresh: one(14, message({ token: one(1, "string") })),
  sub_refresh: one(15, message({ channel: one(1, "string"), token: one(2, "string"), type: one(3, "int32") }))
})

// -----------------------------------------------------------------------------
// Replies, from the server
// -----------------------------------------------------------------------------

const SubscribeResult = message({
  expires: one(1, "bool"),
  ttl: one(2, "uint32"),
  recoverable: one(3, "bool"),
  epoch: one(6, "string"),
  publications: many(7, Publication),
  recovered: one(8, "bool"),
  offset: one(9, "uint64"),
  positioned: one(10, "bool"),
  data: one(11, "payload"),
  was_recovering: one(12, "bool")
})

const ConnectResult = message({
  client: one(1, "string"),
  version: one(2, "string"),
  expires: one(3, "bool"),
  ttl: one(4, "uint32"),
  data: one(5, "payload"),
  subs: map(6, SubscribeResult),
  ping: one(7, "uint32"),
  pong: one(8, "bool"),
  session: one(9, "string"),
  node: one(10, "string")
})

/** What a push says of a connection: the same as the result, with numbers of its own. */
const Connect = message({
  client: one(1, "string"),
  version: one(2, "string"),
  data: one(3, "payload"),
  subs: map(4, SubscribeResult),
  expires: one(5, "bool"),
  ttl: one(6, "uint32"),
  ping: one(7, "uint32"),
  pong: one(8, "bool"),
  session: one(9, "string"),
  node: one(10, "string")
})

const Info = message({ info: one(1, ClientInfo) })

const Push = message({
  channel: one(2, "string"),
  pub: one(4, Publication),
  join: one(5, Info),
  leave: one(6, Info),
  unsubscribe: one(7, message({ code: one(2, "uint32"), reason: one(3, "string") })),
  message: one(8, message({ data: one(1, "payload") })),
  subscribe: one(
    9,
    message({
      recoverable: one(1, "bool"),
      epoch: one(4, "string"),
      offset: one(5, "uint64"),
      positioned: one(6, "bool"),
      data: one(7, "payload")
    })
  ),
  connect: one(10, Connect),
  disconnect: one(11, message({ code: one(1, "uint32"), reason: one(2, "string"), reconnect: one(3, "bool") })),
  refresh: one(12, message({ expires: one(1, "bool"), ttl: one(2, "uint32") }))
})

export const Reply = message({
  id: one(1, "uint32"),
  error: one(2, ErrorInfo),
  push: one(4, Push),
  connect: one(5, ConnectResult),
  subscribe: one(6, SubscribeResult),
  unsubscribe: one(7, Empty),
  publish: one(
    8,
    message({
      // Not in the public protocol: where the publication is.
      offset: one(1001, "uint64"),
      epoch: one(1002, "string")
    })
  ),
  presence: one(9, message({ presence: map(1, ClientInfo) })),
  presence_stats: one(10, message({ num_clients: one(1, "uint32"), num_users: one(2, "uint32") })),
  history: one(
    11,
    message({ publications: many(1, Publication), epoch: one(2, "string"), offset: one(3, "uint64") })
  ),
  ping: one(12, Empty),
  rpc: one(13, message({ data: one(1, "payload") })),
  refresh: one(14, Expiry),
  sub_refresh: one(15, message({ expires: one(1, "bool"), ttl: one(2, "uint32") }))
})

export type Command = ValueOf<typeof Command>
export type Reply = ValueOf<typeof Reply>
export type Push = ValueOf<typeof Push>
export type Publication = ValueOf<typeof Publication>
export type ClientInfo = ValueOf<typeof ClientInfo>
export type SubscribeRequest = ValueOf<typeof SubscribeRequest>
export type SubscribeResult = ValueOf<typeof SubscribeResult>
export type ConnectRequest = ValueOf<typeof ConnectRequest>
export type ConnectResult = ValueOf<typeof ConnectResult>
