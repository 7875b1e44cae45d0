/** The programs among the examples, built, as a user would run them: a chat application, an RPC service, market data. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Queue, Schema, Stream } from "effect"
import { RpcClient, RpcSerialization } from "effect/rpc"
import { type ConnectionError, Socket, Topic, TypedConnection, WebSocketClient } from "effect-ws"
import { Calls, Room } from "../../examples/application/api.ts"
import { Event } from "../../examples/market/api.ts"
import { runExample, startServer } from "../support/process.ts"

const RoomEvent = Topic.event(Room)
type RoomEvent = typeof RoomEvent.Type

describe("application", () => {
  const startApplication = Effect.map(startServer("application/server.js"), (server) => {
    const rooms = `http://127.0.0.1:${server.port}/rooms`
    return {
      ...server,
      members: (room: string) =>
        Effect.promise(() =>
          fetch(`${rooms}/${room}`).then((response) => response.json() as Promise<ReadonlyArray<string>>)
        ),
      say: (room: string, by: string, text: string) =>
        Effect.promise(() =>
          fetch(`${rooms}/${room}/messages`, {
            method: "POST",
            headers: { "Content-Type": "application/json" },
            body: JSON.stringify({ by, text })
          }).then(({ status }) => status)
        )
    }
  })

  const enter = (url: string, query: string) =>
    Effect.map(
      WebSocketClient.connect(`${url}/chat/blue?${query}`),
      (connection) => TypedConnection.make(connection, { receives: RoomEvent, sends: Schema.Never })
    )

  /** The next message of a room, without events about members. */
  const heard = (room: { readonly receive: Effect.Effect<RoomEvent, ConnectionError.ConnectionClosed> }) =>
    Effect.map(
      Effect.repeat(room.receive, { until: (event) => event._tag === "Message" }),
      (event) => event._tag === "Message" ? `${event.message.by}: ${event.message.text}` : ""
    )

  const callsOf = (url: string) =>
    Effect.flatMap(
      Layer.build(
        RpcClient.layerProtocolSocket().pipe(
          Layer.provide([Socket.layer(WebSocketClient.connect(`${url}/rpc`)), RpcSerialization.layerJson])
        )
      ),
      (context) => Effect.provideContext(RpcClient.make(Calls), context)
    )

  it.live("serves HTTP, RPC and a chat on one port, and shuts down in order", () =>
    Effect.gen(function*() {
      const { child, ended, members, output, say, url } = yield* startApplication
      const ada = yield* enter(url, "name=Ada")
      const first = yield* ada.receive
      assert.deepInclude(first, { _tag: "Subscribed", members: [] })
      assert.deepInclude(yield* ada.receive, { _tag: "Joined", member: { name: "Ada" } })
      assert.deepStrictEqual(yield* members("blue"), ["Ada"])

      const calls = yield* callsOf(url)
      yield* calls.Say({ room: "blue", by: "Grace", text: "by RPC" })
      assert.strictEqual(yield* heard(ada), "Grace: by RPC")
      assert.strictEqual(yield* say("blue", "Lin", "by HTTP"), 204)
      assert.strictEqual(yield* heard(ada), "Lin: by HTTP")
      yield* ada.connection.send("by chat")
      assert.strictEqual(yield* heard(ada), "Ada: by chat")

      const nameless = yield* Effect.flip(WebSocketClient.connect(`${url}/chat/blue`))
      assert.deepInclude(nameless, { _tag: "HandshakeRejected", status: 400 })

      const caller = yield* WebSocketClient.connect(`${url}/rpc`)
      child.kill("SIGTERM")
      for (const connection of [ada.connection, caller]) {
        const end = yield* connection.closed
        assert.deepStrictEqual([end.code, end.clean], [1001, true])
      }
      assert.strictEqual(yield* ended, 130)
      assert.match(output(), /STOPPED\n$/)
      assert.notMatch(output(), /ERROR|WARN|Error/)
    }))

  it.live("a client that comes back gets what it missed, once and in order", () =>
    Effect.gen(function*() {
      const { say, url } = yield* startApplication
      const { epoch, offset } = yield* Effect.scoped(Effect.gen(function*() {
        const ada = yield* enter(url, "name=Ada")
        yield* say("blue", "Lin", "one")
        const event = yield* Effect.repeat(ada.receive, { until: ({ _tag }) => _tag === "Message" })
        return event._tag === "Message" ? event.position : assert.fail(event._tag)
      }))
      for (const text of ["two", "three"]) yield* say("blue", "Lin", text)
      const back = yield* enter(url, `name=Ada&epoch=${epoch}&offset=${offset}`)
      yield* say("blue", "Lin", "four")
      for (const text of ["two", "three", "four"]) assert.strictEqual(yield* heard(back), `Lin: ${text}`)
    }))

  it.live(
    "its client prints who is there and what is said, and serves others after it is killed",
    () =>
      Effect.gen(function*() {
        const { members, output, say, url } = yield* startApplication
        const ada = yield* enter(url, "name=Ada")
        for (const name of ["one", "two"]) {
          const client = yield* runExample("application/client.js", { URL: url }, "blue", name)
          yield* client.printed(new RegExp(`${name} has joined`))
          client.child.stdin.write("hello\n")
          yield* client.printed(new RegExp(`heard ${name}: hello\n`))
          // Following begins when the server says so.
          const follows = yield* Effect.forkScoped(client.printed(/followed/))
          yield* Effect.repeat(Effect.delay(say("blue", "Lin", "hi"), 5), {
            until: () => follows.pollUnsafe() !== undefined
          })
          assert.sameMembers([...yield* members("blue")], ["Ada", name])
          client.child.kill("SIGKILL")
          assert.strictEqual(yield* client.ended, "SIGKILL")
          yield* Effect.repeat(Effect.delay(members("blue"), 5), { until: (names) => names.length === 1 })
        }
        yield* say("blue", "Lin", "still here")
        yield* Effect.repeat(heard(ada), { until: (text) => text === "Lin: still here" })
        assert.notMatch(output(), /ERROR|WARN|Error/)
      }),
    20_000
  )
})

describe("rpc", () => {
  it.live("the client calls, handles an error, and watches until its task is done", () =>
    Effect.gen(function*() {
      const server = yield* startServer("rpc/server.js")
      const client = yield* runExample("rpc/client.js", { URL: server.url }, "buy milk")
      assert.strictEqual(yield* client.ended, 0)
      assert.deepStrictEqual(client.output().trim().split("\n"), [
        "there is no task 2",
        "- buy milk",
        "x buy milk"
      ])
    }))
})

describe("market", () => {
  const subscribe = (url: string) =>
    Effect.map(
      WebSocketClient.connect(url),
      (connection) => TypedConnection.make(connection, { receives: Event, sends: Schema.Never })
    )

  it.live("sends all prices and then those that change to each subscriber", () =>
    Effect.gen(function*() {
      const { url } = yield* startServer("market/server.js", { INTERVAL: "5", SYMBOLS: "ACME,GLOBEX" })
      const subscribers = yield* Effect.replicateEffect(subscribe(url), 20)
      for (const { receive } of subscribers) {
        const snapshot = yield* Effect.repeat(receive, { until: ({ _tag }) => _tag === "Snapshot" })
        assert.deepStrictEqual(
          snapshot._tag === "Snapshot" ? snapshot.prices.map(({ symbol }) => symbol) : [],
          ["ACME", "GLOBEX"]
        )
        const first = yield* Effect.repeat(receive, { until: ({ _tag }) => _tag === "Message" })
        assert.strictEqual(first._tag, "Message")
      }
    }))

  it.live("sends a subscriber that has not read only the newest prices", () =>
    Effect.gen(function*() {
      // Long names, so that few prices fill the buffers of the kernel.
      const SYMBOLS = ["A", "B", "C", "D"].map((letter) => letter.repeat(4096)).join(",")
      const { url } = yield* startServer("market/server.js", { INTERVAL: "0", SYMBOLS })
      const [slow, fast] = [yield* subscribe(url), yield* subscribe(url)]
      // The slow subscriber reads nothing until a fast one has seen 10,000 prices.
      const events = yield* Queue.sliding<number>(1)
      const reading = yield* Effect.forkChild(Stream.runForEach(fast.messages, (event) =>
        event._tag === "Message" ? Queue.offer(events, event.position.offset) : Effect.void))
      const newest = yield* Effect.repeat(Queue.take(events), {
        until: (offset) =>
          offset > 10_000
      })
      let previous = 0
      let skipped = 0
      yield* slow.messages.pipe(
        Stream.takeUntil((event) => event._tag === "Message" && event.position.offset > newest),
        Stream.runForEach((event) =>
          Effect.sync(() => {
            if (event._tag !== "Message") return
            if (previous > 0) skipped += event.position.offset - previous - 1
            assert.isAbove(event.position.offset, previous)
            previous = event.position.offset
          })
        )
      )
      assert.isAbove(skipped, 0)
      assert.isUndefined(reading.pollUnsafe())
    }), 60_000)
})
