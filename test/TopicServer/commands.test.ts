/** The commands of clients, as text, and the replies to them. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect } from "effect"
import { Connection, TopicError, Topics, TopicServer } from "effect-ws"
import { TestClock } from "effect/testing"
import {
  connected,
  Feed,
  layer,
  lobby,
  open,
  pushes,
  rawClient,
  type Reply,
  Room,
  settle
} from "../support/topicSession.ts"

const error = (reply: Reply) => reply["error"] as { readonly code: number; readonly temporary?: boolean } | undefined

const reject = (code: number, reason?: string) => Effect.fail(new TopicError.Rejected({ code, reason }))

const channel = "room:lobby"

describe("connecting", () => {
  it.effect("tells the id of the client, and that pings will come", () =>
    Effect.gen(function*() {
      const client = yield* connected(open())
      const [{ connect, id }] = client.received as [{ readonly id: number; readonly connect: Reply }]
      assert.strictEqual(id, 1)
      assert.match(connect["client"] as string, /^[0-9a-f]{32}$/)
      assert.deepInclude(connect, { version: "effect-ws", ping: 25, pong: true })
    }).pipe(Effect.provide(layer)))

  it.effect("hands the program what the client tells, and the client what the program returns", () =>
    Effect.gen(function*() {
      const seen: Array<TopicServer.ConnectRequest> = []
      const client = yield* connected(
        open({
          connect: (request) => {
            seen.push(request)
            return Effect.succeed({ data: { welcome: true }, expiresIn: "90 seconds" })
          }
        }),
        { token: "t", data: [1], name: "app", version: "2", headers: { a: "b" } }
      )
      const [{ client: own, request, ...rest }] = seen
      assert.deepStrictEqual(rest, { token: "t", data: [1], name: "app", version: "2", headers: { a: "b" } })
      assert.isUndefined(own)
      assert.strictEqual(request.path, "/")
      assert.deepInclude(client.received[0]["connect"] as object, { data: { welcome: true }, expires: true, ttl: 90 })
    }).pipe(Effect.provide(layer)))

  it.effect("takes a new token of the same user only, and lets clients subscribe without a decision", () =>
    Effect.gen(function*() {
      const client = yield* connected(
        open({ connect: ({ token }) => Effect.succeed({ user: token }), subscribe: undefined }),
        { token: "ada" }
      )
      assert.isUndefined(error(yield* client.ask({ subscribe: { channel } })))
      assert.deepInclude((yield* client.ask({ refresh: { token: "ada" } }))["refresh"], { version: "effect-ws" })
      yield* client.ask({ refresh: { token: "bob" } })
      assert.strictEqual(client.ended()?.slice(0, 4), "3500")
    }).pipe(Effect.provide(layer)))

  it.effect("rejects, disconnects, or reports an error of the server, as the program decides", () =>
    Effect.gen(function*() {
      const rejected = yield* connected(open({ connect: () => reject(400, "no") }))
      assert.deepStrictEqual(rejected.received, [{ id: 1, error: { code: 400, message: "no" } }])
      const ended = yield* connected(open({
        connect: () => Effect.fail(new TopicError.Disconnect({ code: 4500, reason: "go" }))
      }))
      assert.strictEqual(ended.ended(), "4500 go")
      const died = yield* connected(open({ connect: () => Effect.die("a bug") }))
      assert.deepStrictEqual(died.received, [{
        id: 1,
        error: { code: 100, message: "internal server error", temporary: true }
      }])
      const invalid = yield* connected(open({
        connect: () => Effect.fail(new TopicError.Disconnect({ code: 1, reason: "x".repeat(200) }))
      }))
      assert.strictEqual(invalid.ended(), "3004")
    }).pipe(Effect.provide(layer)))

  it.effect("subscribes the client to channels that the program chooses, and resumes them", () =>
    Effect.gen(function*() {
      const handler = open({ connect: () => Effect.succeed({ channels: [channel] }) })
      const first = yield* Topics.publish(Room, lobby, { text: "a" })
      yield* Topics.publish(Room, lobby, { text: "b" })
      const client = yield* connected(handler, {
        subs: { [channel]: { recover: true, epoch: first.epoch, offset: first.offset } }
      })
      const { subs } = client.received[0]["connect"] as { readonly subs: Readonly<Record<string, Reply>> }
      assert.deepInclude(subs[channel], { recovered: true, was_recovering: true, offset: 1 })
      assert.deepStrictEqual(subs[channel]["publications"], [{ data: { text: "b" }, offset: 2 }])
      yield* Topics.publish(Room, lobby, { text: "c" })
      yield* settle
      assert.deepInclude(pushes(client).at(-1), { channel, pub: { data: { text: "c" }, offset: 3 } })
      assert.strictEqual(error(yield* client.ask({ subscribe: { channel } }))?.code, 105)
    }).pipe(Effect.provide(layer)))
})

describe("a connect command that is still undecided", () => {
  it.effect("changes nothing once the time to connect is over", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<TopicServer.ConnectGrant>()
      const client = yield* connected(open({ connect: () => Deferred.await(gate), connectTimeout: "1 second" }))
      yield* Effect.andThen(TestClock.adjust("1 second"), settle)
      yield* Deferred.succeed(gate, { channels: [channel] })
      yield* settle
      assert.strictEqual(client.ended(), "3502 stale")
      assert.deepStrictEqual(client.received, [])
      assert.isTrue(client.done())
    }).pipe(Effect.provide(layer)))

  it.effect("rejects the connection if a channel that the program chose is rejected", () =>
    Effect.gen(function*() {
      const client = yield* connected(open({ connect: () => Effect.succeed({ channels: [channel, "other"] }) }))
      assert.deepStrictEqual(client.received, [{ id: 1, error: { code: 102, message: "unknown channel" } }])
      assert.deepStrictEqual(yield* Topics.members(Room, lobby), [])
      yield* client.send({ id: 2, connect: {} })
      assert.strictEqual(client.ended(), "3501 bad request")
    }).pipe(Effect.provide(layer)))
})

describe("the handle of a client", () => {
  it.effect("sends, unsubscribes and disconnects", () =>
    Effect.gen(function*() {
      const handles: Array<TopicServer.Client> = []
      const client = yield* connected(open({
        subscribe: (request) => Effect.sync(() => void handles.push(request.client))
      }))
      yield* client.ask({ subscribe: { channel } })
      const [handle] = handles
      yield* handle!.send({ a: 1 })
      yield* handle!.unsubscribe("room:other")
      yield* handle!.unsubscribe(channel)
      yield* settle
      assert.deepStrictEqual(pushes(client), [
        { message: { data: { a: 1 } } },
        { channel, unsubscribe: { code: 2000, reason: "server unsubscribe" } }
      ])
      yield* handle!.disconnect(new TopicError.Disconnect({ code: 4001, reason: "elsewhere" }))
      yield* handle!.disconnect()
      yield* settle
      assert.strictEqual(client.ended(), "4001 elsewhere")
    }).pipe(Effect.provide(layer)))

  it.effect("ends a connection for good by default", () =>
    Effect.gen(function*() {
      const client = yield* connected(open({ rpc: (call) => call.client.disconnect() }))
      yield* client.ask({ rpc: {} })
      yield* settle
      assert.strictEqual(client.ended(), "3503 force disconnect")
    }).pipe(Effect.provide(layer)))
})

describe("subscribing", () => {
  it.effect("confirms with the position, then pushes", () =>
    Effect.gen(function*() {
      const { epoch } = yield* Topics.publish(Room, lobby, { text: "before" })
      const client = yield* connected(open(), { token: "ada" })
      const reply = yield* client.ask({ subscribe: { channel } })
      assert.deepStrictEqual(reply["subscribe"], { positioned: true, recoverable: true, epoch, offset: 1 })
      yield* Topics.publish(Room, lobby, { text: "after" })
      yield* settle
      const [{ join }, pub] = pushes(client)
      assert.deepNestedInclude(join as object, { "info.user": "ada", "info.chan_info": { name: "ada" } })
      assert.deepStrictEqual(pub, { channel, pub: { data: { text: "after" }, offset: 2 } })
    }).pipe(Effect.provide(layer)))

  it.effect("recovers from a position, with an epoch or without", () =>
    Effect.gen(function*() {
      const { epoch } = yield* Topics.publish(Room, lobby, { text: "a" })
      yield* Topics.publish(Room, lobby, { text: "b" })
      const client = yield* connected(open())
      for (const known of [epoch, undefined, ""]) {
        const { subscribe } = yield* client.ask({ subscribe: { channel, recover: true, epoch: known, offset: 1 } })
        assert.deepInclude(subscribe as object, { recovered: true, was_recovering: true, epoch, offset: 1 })
        yield* client.ask({ unsubscribe: { channel } })
      }
      const { subscribe } = yield* client.ask({ subscribe: { channel, recover: true, epoch: "other", offset: 1 } })
      assert.deepInclude(subscribe as object, { was_recovering: true, epoch, offset: 2 })
      assert.notProperty(subscribe, "recovered")
      assert.notProperty(subscribe, "publications")
    }).pipe(Effect.provide(layer)))

  it.effect("rejects a client with 112 that prefers an error to a gap", () =>
    Effect.gen(function*() {
      yield* Topics.publish(Room, lobby, { text: "a" })
      const client = yield* connected(open())
      const request = { channel, recover: true, epoch: "other", offset: 1, flag: 3 }
      assert.strictEqual(error(yield* client.ask({ subscribe: request }))?.code, 112)
      assert.property(yield* client.ask({ subscribe: { channel } }), "subscribe")
    }).pipe(Effect.provide(layer)))

  it.effect("offers recovery without history only if the client asks for it", () =>
    Effect.gen(function*() {
      yield* Topics.publish(Feed, lobby, { text: "a" })
      const client = yield* connected(open())
      const plain = yield* client.ask({ subscribe: { channel: "feed:lobby" } })
      assert.notProperty(plain["subscribe"], "recoverable")
      yield* client.ask({ unsubscribe: { channel: "feed:lobby" } })
      const asked = yield* client.ask({ subscribe: { channel: "feed:lobby", recoverable: true } })
      assert.deepInclude(asked["subscribe"] as object, { recoverable: true, positioned: true })
    }).pipe(Effect.provide(layer)))

  for (
    const [title, request, code] of [
      ["a channel of no topic", { channel: "other" }, 102],
      ["a name that is too long", { channel: `room:${"a".repeat(16)}` }, 107],
      ["a name that is too long in UTF-8", { channel: `room:${"€".repeat(6)}` }, 107],
      ["half a surrogate pair", { channel: "room:\ud800" }, 107],
      ["a map", { channel, type: 1 }, 108],
      ["a poll", { channel, type: 4 }, 108],
      ["a filter of tags", { channel, tf: { key: "a" } }, 107]
    ] as const
  ) {
    it.effect(`rejects ${title}`, () =>
      Effect.gen(function*() {
        const client = yield* connected(open({ maxChannelLength: 20 }))
        assert.strictEqual(error(yield* client.ask({ subscribe: request }))?.code, code)
        assert.isUndefined(client.ended())
      }).pipe(Effect.provide(layer)))
  }

  it.effect("does not negotiate deltas and numbers for channels", () =>
    Effect.gen(function*() {
      const client = yield* connected(open())
      const { subscribe } = yield* client.ask({ subscribe: { channel, delta: "fossil", flag: 1 } })
      assert.hasAllKeys(subscribe, ["positioned", "recoverable", "epoch", "offset"])
    }).pipe(Effect.provide(layer)))

  it.effect("bounds the number of channels", () =>
    Effect.gen(function*() {
      const client = yield* connected(open({ maxChannels: 2 }))
      for (const name of ["a", "b"]) {
        assert.property(yield* client.ask({ subscribe: { channel: `room:${name}` } }), "subscribe")
      }
      assert.strictEqual(error(yield* client.ask({ subscribe: { channel: "room:c" } }))?.code, 106)
      assert.strictEqual(error(yield* client.ask({ subscribe: { channel: "room:a" } }))?.code, 105)
      yield* client.ask({ unsubscribe: { channel: "room:a" } })
      assert.property(yield* client.ask({ subscribe: { channel: "room:c" } }), "subscribe")
    }).pipe(Effect.provide(layer)))

  it.effect("ends with unsubscribe: no push follows, not even that the client itself has left", () =>
    Effect.gen(function*() {
      const client = yield* connected(open())
      yield* client.ask({ subscribe: { channel } })
      const reply = yield* client.ask({ unsubscribe: { channel } })
      yield* Topics.publish(Room, lobby, { text: "after" })
      yield* settle
      assert.deepStrictEqual(client.received.at(-1), reply)
      assert.deepStrictEqual(pushes(client).map((push) => Object.keys(push)), [["channel", "join"]])
      assert.deepStrictEqual(yield* Topics.members(Room, lobby), [])
    }).pipe(Effect.provide(layer)))

  it.effect("ends with the connection, even if the program still decides on a later command", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const client = yield* connected(open({ publish: () => Deferred.await(gate) }))
      yield* client.ask({ subscribe: { channel } })
      yield* client.send(
        { id: 7, publish: { channel, data: { text: "sent before the end" } } },
        { id: 8, subscribe: { channel: "room:other" } }
      )
      assert.lengthOf(yield* Topics.members(Room, lobby), 1)
      yield* Effect.forkScoped(client.connection.terminate)
      yield* settle
      assert.isFalse(client.done())
      assert.deepStrictEqual(yield* Topics.members(Room, lobby), [])
      yield* Deferred.succeed(gate, undefined)
      yield* settle
      assert.isTrue(client.done())
      assert.lengthOf((yield* Topics.history(Room, lobby)).messages, 1)
      assert.deepStrictEqual(yield* Topics.members(Room, { name: "other" }), [])
    }).pipe(Effect.provide(layer)))

  it.effect("does not make a member of a client whose grant names no member", () =>
    Effect.gen(function*() {
      const client = yield* connected(open({ subscribe: () => Effect.void }))
      assert.property(yield* client.ask({ subscribe: { channel } }), "subscribe")
      assert.deepStrictEqual(yield* Topics.members(Room, lobby), [])
    }).pipe(Effect.provide(layer)))

  it.effect("reports a member that the schema rejects as an error of the server, and keeps nothing", () =>
    Effect.gen(function*() {
      const client = yield* connected(open({ subscribe: () => Effect.succeed({ member: 1 }) }))
      assert.strictEqual(error(yield* client.ask({ subscribe: { channel } }))?.code, 100)
      assert.strictEqual(error(yield* client.ask({ subscribe: { channel } }))?.code, 100)
      assert.deepStrictEqual(yield* Topics.members(Room, lobby), [])
    }).pipe(Effect.provide(layer)))

  it.effect("leaves nothing behind when the connection ends while the program decides", () =>
    Effect.gen(function*() {
      const asked = yield* Deferred.make<void>()
      const decided = yield* Deferred.make<void>()
      const client = yield* connected(open({
        subscribe: () =>
          Effect.as(Effect.andThen(Deferred.succeed(asked, undefined), Deferred.await(decided)), {
            member: { name: "a" }
          })
      }))
      yield* client.send({ id: 2, subscribe: { channel } })
      yield* Deferred.await(asked)
      yield* Effect.forkScoped(client.connection.close())
      yield* settle
      yield* Deferred.succeed(decided, undefined)
      yield* settle
      assert.isTrue(client.done())
      assert.deepStrictEqual(yield* Topics.members(Room, lobby), [])
    }).pipe(Effect.provide(layer)))
})

describe("publishing and reading", () => {
  it.effect("publishes what the program makes of a message, with the publisher, once for each key", () =>
    Effect.gen(function*() {
      const seen: Array<unknown> = []
      const client = yield* connected(
        open({
          connect: () => Effect.succeed({ user: "ada", info: { app: "web" } }),
          publish: ({ message, subscribed }) => {
            seen.push([message, subscribed])
            return Effect.succeed({ message: { text: `${(message as { readonly text: string }).text}!` } })
          }
        })
      )
      yield* client.ask({ subscribe: { channel } })
      const publish = { channel, data: { text: "hi", extra: 1 }, idempotency_key: "k" }
      const [first, second] = [yield* client.ask({ publish }), yield* client.ask({ publish })]
      assert.deepStrictEqual(first["publish"], second["publish"])
      assert.deepInclude(first["publish"] as object, { offset: 1 })
      assert.deepStrictEqual(seen[0], [{ text: "hi" }, true])
      const published = pushes(client).filter((push) => "pub" in push)
      assert.lengthOf(published, 1)
      assert.deepNestedInclude(published[0], {
        "pub.data": { text: "hi!" },
        "pub.info.user": "ada",
        "pub.info.conn_info": { app: "web" },
        "pub.info.chan_info": { name: "ada" }
      })
    }).pipe(Effect.provide(layer)))

  for (
    const [title, request, code] of [
      ["a value that is not of the schema", { channel, data: { text: 1 } }, 107],
      ["no value", { channel }, 107],
      ["a channel of no topic", { channel: "other", data: { text: "a" } }, 102],
      ["a key of a map", { channel, data: { text: "a" }, type: 1 }, 108]
    ] as const
  ) {
    it.effect(`rejects a publication of ${title}`, () =>
      Effect.gen(function*() {
        const client = yield* connected(open())
        assert.strictEqual(error(yield* client.ask({ publish: request }))?.code, code)
        assert.deepStrictEqual((yield* Topics.history(Room, lobby)).messages, [])
      }).pipe(Effect.provide(layer)))
  }

  it.effect("rejects what the program has no effect for", () =>
    Effect.gen(function*() {
      const client = yield* connected(TopicServer.handler({ topics: [Room, Feed] }))
      for (
        const command of [
          { publish: { channel, data: { text: "a" } } },
          { rpc: { method: "a" } },
          { refresh: { token: "a" } },
          { ping: {} },
          { sub_refresh: { channel, type: 1 } }
        ]
      ) assert.strictEqual(error(yield* client.ask(command))?.code, 108, JSON.stringify(command))
    }).pipe(Effect.provide(layer)))

  it.effect("reads history by limit, position and direction", () =>
    Effect.gen(function*() {
      const { epoch } = yield* Topics.publish(Room, lobby, { text: "1" })
      for (const text of ["2", "3", "4", "5", "6"]) yield* Topics.publish(Room, lobby, { text })
      const client = yield* connected(open({ read: () => Effect.void, maxHistory: 4 }))
      const read = (request: object) =>
        Effect.map(client.ask({ history: { channel, ...request } }), (reply) => {
          const { history } = reply as {
            readonly history?: { readonly publications: ReadonlyArray<{ readonly offset: number }> }
          }
          return error(reply)?.code ?? history?.publications.map(({ offset }) => offset)
        })
      assert.deepStrictEqual(yield* read({}), [])
      assert.deepStrictEqual(yield* read({ limit: 2 }), [2, 3])
      assert.deepStrictEqual(yield* read({ limit: -1 }), [2, 3, 4, 5])
      assert.deepStrictEqual(yield* read({ limit: 2, reverse: true }), [6, 5])
      assert.deepStrictEqual(yield* read({ limit: 9, since: { epoch, offset: 4 } }), [5, 6])
      assert.deepStrictEqual(yield* read({ limit: 9, since: { offset: 4 } }), [5, 6])
      assert.deepStrictEqual(yield* read({ limit: 9, since: { epoch, offset: 0 } }), 112)
      assert.deepStrictEqual(yield* read({ limit: 9, since: { epoch: "other", offset: 4 } }), 112)
    }).pipe(Effect.provide(layer)))

  it.effect("lets subscribers read members, and counts connections and users", () =>
    Effect.gen(function*() {
      const handler = open()
      const [ada, again, bob] = [
        yield* connected(handler, { token: "ada" }),
        yield* connected(handler, { token: "ada" }),
        yield* connected(handler, { token: "bob" })
      ]
      assert.strictEqual(error(yield* ada.ask({ presence: { channel } }))?.code, 103)
      for (const client of [ada, again, bob]) yield* client.ask({ subscribe: { channel } })
      const { presence } = (yield* ada.ask({ presence: { channel } }))["presence"] as { readonly presence: object }
      assert.deepStrictEqual(Object.values(presence).map(({ user }) => user as string).toSorted(), [
        "ada",
        "ada",
        "bob"
      ])
      const stats = yield* ada.ask({ presence_stats: { channel } })
      assert.deepStrictEqual(stats["presence_stats"], { num_clients: 3, num_users: 2 })
      yield* ada.ask({ subscribe: { channel: "feed:lobby" } })
      assert.strictEqual(error(yield* ada.ask({ presence: { channel: "feed:lobby" } }))?.code, 108)
      assert.strictEqual(error(yield* ada.ask({ history: { channel: "feed:lobby" } }))?.code, 108)
    }).pipe(Effect.provide(layer)))

  it.effect("shows typed programs the members of clients, and clients those of programs", () =>
    Effect.gen(function*() {
      const client = yield* connected(open(), { token: "ada" })
      yield* client.ask({ subscribe: { channel } })
      yield* Topics.join(Room, lobby, { id: "bot", member: { name: "Bot" } })
      yield* settle
      assert.deepStrictEqual((yield* Topics.members(Room, lobby)).map(({ member }) => member.name).toSorted(), [
        "Bot",
        "ada"
      ])
      assert.deepStrictEqual(pushes(client).at(-1), {
        channel,
        join: { info: { user: "", client: "bot", chan_info: { name: "Bot" } } }
      })
    }).pipe(Effect.provide(layer)))
})

describe("calls and data", () => {
  it.effect("runs calls beside other commands, at most maxCalls at a time", () =>
    Effect.gen(function*() {
      const gates = new Map<string, Deferred.Deferred<string>>()
      const started: Array<string> = []
      const client = yield* connected(open({
        maxCalls: 2,
        rpc: ({ method }) =>
          Effect.gen(function*() {
            started.push(method)
            const gate = yield* Deferred.make<string>()
            gates.set(method, gate)
            return yield* Deferred.await(gate)
          })
      }))
      const rpc = (id: number, method: string) => ({ id, rpc: { method } })
      yield* client.send(rpc(2, "a"), rpc(3, "b"), { id: 4, unsubscribe: { channel } }, rpc(5, "c"), {
        id: 6,
        unsubscribe: { channel }
      })
      assert.deepStrictEqual(started, ["a", "b"])
      assert.strictEqual(client.received.at(-1)?.["id"], 4)
      yield* Deferred.succeed(gates.get("b")!, "B")
      yield* settle
      assert.deepStrictEqual(started, ["a", "b", "c"])
      assert.deepStrictEqual(client.received.slice(-2), [{ id: 3, rpc: { data: "B" } }, { id: 6, unsubscribe: {} }])
    }).pipe(Effect.provide(layer)))

  it.effect("interrupts calls when the connection ends", () =>
    Effect.gen(function*() {
      let interrupted = false
      const client = yield* connected(open({
        rpc: () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => void (interrupted = true)))
      }))
      yield* client.send({ id: 2, rpc: { method: "a" } })
      yield* Effect.forkScoped(client.connection.close())
      yield* settle
      assert.isTrue(interrupted)
      assert.isTrue(client.done())
    }).pipe(Effect.provide(layer)))

  it.effect("handles data in order, and goes on after a rejection, which has no reply", () =>
    Effect.gen(function*() {
      const got: Array<unknown> = []
      const client = yield* connected(open({
        message: ({ data }) => data === "bad" ? reject(107) : Effect.sync(() => void got.push(data))
      }))
      yield* client.send({ send: { data: 1 } }, { send: { data: "bad" } }, { send: {} })
      assert.deepStrictEqual(got, [1, undefined])
      assert.isUndefined(client.ended())
    }).pipe(Effect.provide(layer)))

  it.effect("rejects a subprotocol that no format has", () =>
    Effect.gen(function*() {
      const handler = open()
      const client = yield* rawClient(
        Effect.updateService(
          handler,
          Connection.Connection,
          (connection) => Connection.decorate(connection, { subprotocol: "centrifuge-protobuf" })
        )
      )
      yield* settle
      assert.strictEqual(client.ended(), "3506 inappropriate protocol")
    }).pipe(Effect.provide(layer)))
})
