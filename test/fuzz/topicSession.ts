/**
 * Clients of a topic server that send anything. A tape of choices decides what: commands in any order, several in a message,
 * damaged ones, other bytes; cuts; and what the program does meanwhile. Each reply must belong to a command, messages of a
 * subscription must come in order, and when all connections have ended, no subscription and no member may be left.
 */
import { Effect, Exit, Layer, Logger, Result, Scope } from "effect"
import { Broker, Connection, Message, TopicError, Topics, TopicServer } from "effect-ws"
import * as TopicProtobuf from "effect-ws/TopicProtobuf"
import { strict as assert } from "node:assert"
import type { Codec } from "../../src/internal/centrifuge/codec.ts"
import { jsonCodec } from "../../src/internal/centrifuge/jsonCodec.ts"
import { protobufCodec } from "../../src/internal/centrifuge/protobufCodec.ts"
import { Command, JsonText, Reply, type Reply as ReplyValue } from "../../src/internal/centrifuge/schema.ts"
import { hubOf } from "../../src/internal/topics/hub.ts"
import { makePair, settle } from "../support/memory.ts"
import { Feed, Room } from "../support/topicSession.ts"
import type { Target } from "./engine.ts"
import { type Choices, Tape } from "./random.ts"

const bounds = { maxSize: Number.POSITIVE_INFINITY, maxCount: Number.POSITIVE_INFINITY }

const channels = ["room:a", "room:b", "feed:a", "other", "", "room:\ud800", `room:${"x".repeat(300)}`]

const handler = TopicServer.handler({
  topics: [Room, Feed],
  formats: [TopicProtobuf.format],
  maxChannels: 2,
  maxCommands: 8,
  maxCommandSize: 2000,
  rate: { perSecond: 1000, burst: 30 },
  connect: ({ token }) =>
    token === "no"
      ? Effect.fail(new TopicError.Rejected({ code: 101 }))
      : token === "dies"
      ? Effect.die("a bug")
      : Effect.as(token === "slow" ? settle : Effect.void, {
        user: token,
        channels: token === "all" ? ["room:a", "feed:a"] : []
      }),
  subscribe: ({ client, token }) =>
    token === "no"
      ? Effect.fail(new TopicError.Disconnect({ code: 4000 }))
      : Effect.as(token === "slow" ? settle : Effect.void, { member: { name: client.user } }),
  publish: () => Effect.void,
  rpc: ({ method }) => method === "slow" ? Effect.as(settle, 1) : method === "never" ? Effect.never : Effect.succeed(2),
  message: () => Effect.void
})

/** A command, mostly a valid one. */
const anyCommand = (choices: Choices, id: number): Command => {
  const channel = choices.pick(channels)
  const token = choices.pick(["", "ada", "no", "slow", "all", "dies"])
  const data = new JsonText(choices.pick([`{"text":"a"}`, `{"text":1}`, "null", "[]"]))
  const since = { offset: choices.below(5), epoch: choices.pick(["", "other"]) }
  const request = choices.pick<Command>([
    { connect: { token } },
    { subscribe: { channel, token } },
    { subscribe: { channel, recover: true, ...since, flag: choices.below(4), type: choices.pick([0, 0, 0, 1]) } },
    { unsubscribe: { channel } },
    { publish: { channel, data, idempotency_key: choices.pick(["", "k"]) } },
    { presence: { channel } },
    { presence_stats: { channel } },
    { history: { channel, limit: choices.below(4) - 1, since, reverse: choices.oneIn(2) } },
    { rpc: { method: choices.pick(["", "slow", "never"]), data } },
    { send: { data } },
    { refresh: { token } },
    { sub_refresh: { channel, token } },
    { ping: {} },
    {}
  ])
  return choices.oneIn(10) ? request : { id, ...request }
}

class Client {
  readonly connection: Connection.Connection
  readonly outcomes = new Set<string>()
  private readonly codec: Codec
  private readonly asked = new Set<number>()
  private readonly offsets = new Map<string, number>()
  private lastId = 0
  private isSpoiled = false

  constructor(connection: Connection.Connection, codec: Codec) {
    this.connection = connection
    this.codec = codec
  }

  send(choices: Choices): Effect.Effect<void> {
    const count = choices.pick([1, 1, 2, 3, 9])
    const commands = Array.from({ length: count }, () => anyCommand(choices, ++this.lastId))
    for (const { id } of commands) if (id !== undefined) this.asked.add(id)
    const encoded = this.codec.encode(Command, commands)
    if (!choices.oneIn(12)) return Effect.ignore(this.connection.send(encoded))
    // An id may be another one now.
    this.isSpoiled = true
    return Effect.ignore(this.connection.send(spoil(choices, encoded)))
  }

  /** Connects, so that most clients get somewhere. */
  get connect(): Effect.Effect<void> {
    this.asked.add(++this.lastId)
    return Effect.ignore(
      this.connection.send(this.codec.encode(Command, [{ id: this.lastId, connect: { token: "ada" } }]))
    )
  }

  get read(): Effect.Effect<void> {
    return Effect.forever(Effect.map(this.connection.receive, (message) => this.check(message))).pipe(
      Effect.catchTag("ConnectionClosed", ({ code }) => Effect.sync(() => void this.outcomes.add(`end ${code}`)))
    )
  }

  private check(message: Message.Message): void {
    const replies = Result.getOrThrow(this.codec.decode(Reply, message, bounds))
    for (const reply of replies) this.checkReply(reply)
  }

  private checkReply(reply: ReplyValue): void {
    const { id, push } = reply
    if (id !== undefined) {
      assert.ok(this.asked.delete(id) || this.isSpoiled, `a reply to ${id}, which awaits none`)
      this.outcomes.add(reply.error === undefined ? Object.keys(reply)[1]! : `error ${reply.error.code}`)
    } else if (push !== undefined) {
      const { channel = "", pub } = push
      if (push.unsubscribe !== undefined) this.outcomes.add(`unsubscribed ${push.unsubscribe.code}`)
      if (pub?.offset === undefined) return
      assert.ok(pub.offset > (this.offsets.get(channel) ?? 0), "messages come in order")
      this.offsets.set(channel, pub.offset)
    }
    for (const { offset = 0 } of reply.subscribe?.publications ?? []) assert.ok(offset > 0)
  }
}

const spoil = (choices: Choices, encoded: string | Uint8Array): string | Uint8Array => {
  const bytes = typeof encoded === "string" ? new TextEncoder().encode(encoded) : Uint8Array.from(encoded)
  if (bytes.length > 0) bytes[choices.below(bytes.length)] = choices.below(256)
  // A connection sends no text that is not UTF-8.
  return typeof encoded === "string" && choices.oneIn(2) ? new TextDecoder().decode(bytes) : bytes
}

const session = Effect.fnUntraced(function*(choices: Tape) {
  const hub = hubOf(yield* Topics.Topics)
  const clients: Array<Client> = []
  const failures: Array<unknown> = []
  const watch = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.forkScoped(Effect.onExit(effect, (exit) =>
      Effect.sync(() => {
        if (Exit.isFailure(exit) && !Exit.hasInterrupts(exit)) failures.push(exit.cause)
      })))
  for (let steps = 0; !choices.done && steps < 60; steps++) {
    const action = clients.length === 0 ? 0 : choices.below(12)
    const client = clients[choices.below(clients.length || 1)]
    if (action === 0) {
      if (clients.length === 4) continue
      const codec = choices.oneIn(2) ? protobufCodec : jsonCodec
      const { client: near, server } = yield* makePair()
      const accepted = Connection.decorate(server, { subprotocol: codec.subprotocol })
      yield* watch(Effect.andThen(Effect.provideService(handler, Connection.Connection, accepted), server.close()))
      const added = new Client(near, codec)
      clients.push(added)
      yield* watch(added.read)
      if (!choices.oneIn(4)) yield* added.connect
    } else if (action === 1) {
      yield* Effect.forkScoped(choices.oneIn(2) ? client!.connection.terminate : client!.connection.close())
    } else if (action === 2) yield* Topics.publish(Room, { name: choices.pick(["a", "b"]) }, { text: "server" })
    else if (action === 3) yield* settle
    else yield* client!.send(choices)
  }
  yield* settle
  for (const { connection } of clients) yield* Effect.forkScoped(connection.terminate)
  yield* settle
  assert.deepEqual(failures, [], "handlers end without failures")
  assert.equal(hub.subscribers, 0, "no subscription is left")
  for (const name of ["a", "b"]) assert.deepEqual(yield* Topics.members(Room, { name }), [], "no member is left")
  return clients.map(({ outcomes }) => [...outcomes].toSorted().join(",")).toSorted().join(";")
})

/** Without a log: the program dies on purpose. */
const live = Layer.mergeAll(
  Layer.provideMerge(Topics.layer({ linger: 0 }), Broker.layerMemory()),
  Logger.layer([])
)

export const topicSession: Target = {
  name: "topic-session",
  generate: (choices) => choices.bytes(20 + choices.below(300)),
  run: (input) => {
    const scope = Scope.makeUnsafe()
    const running = Scope.provide(session(new Tape(input)), scope)
    return Effect.runPromise(
      Effect.ensuring(running, Scope.close(scope, Exit.void)).pipe(Effect.provide(live))
    )
  }
}

/** Bytes as messages of both forms: they are read or rejected, and read values are written and read again as the same. */
export const topicCodec: Target = {
  name: "topic-codec",
  words: ["{", "}", "\"id\":1", ",", "\"connect\":{}", "\n", "\u0008\u0001", "\"push\":", "\u0012\u0000"],
  generate: (choices) => {
    const codec = choices.oneIn(2) ? protobufCodec : jsonCodec
    const encoded = codec.encode(Command, [anyCommand(choices, 1 + choices.below(300)), anyCommand(choices, 1)])
    const bytes = typeof encoded === "string" ? new TextEncoder().encode(encoded) : encoded
    return Uint8Array.from([codec === jsonCodec ? 0 : 1, ...bytes])
  },
  run: (input) => {
    const isJson = (input[0] ?? 0) % 2 === 0
    const codec = isJson ? jsonCodec : protobufCodec
    const message = isJson ? Message.text(input.subarray(1)) : Message.binary(input.subarray(1))
    return [Command, Reply].map((type) => {
      const decoded = codec.decode(type, message, { maxSize: 1000, maxCount: 5 })
      if (Result.isFailure(decoded)) return decoded.failure.reason
      assert.ok(decoded.success.length > 0 && decoded.success.length <= 5, "1 to 5 values")
      return decoded.success.map((value) => Object.keys(value).join("+")).join(" ")
    }).join("|")
  }
}
