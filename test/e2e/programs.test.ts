/** The programs among the examples, built, as a user would run them: a chat application, an RPC service, market data. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Queue, Schedule, Schema, Stream } from "effect"
import { RpcClient, RpcSerialization } from "effect/rpc"
import { type Connection, Socket, type Topic, TopicClient, TypedConnection, WebSocketClient } from "effect-ws"
import { Calls, type Message, Room } from "../../examples/application/api.ts"
import { Event } from "../../examples/market/api.ts"
import { runExample, startServer } from "../support/process.ts"

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

  /** A user in the room blue: the connections so far, and the events of the room. */
  const enter = (url: string, name: string) =>
    Effect.gen(function*() {
      const connections: Array<Connection.Connection> = []
      const connect = Effect.tap(WebSocketClient.connect(`${url}/chat`), (connection) =>
        Effect.sync(() => connections.push(connection)))
      const client = yield* TopicClient.make(() =>
        connect, { token: name, schedule: Schedule.spaced(5) })
      const events = yield* Queue.unbounded<Topic.Event<typeof Message.Type, { readonly name: string }>>()
      yield* client.subscribe(Room, { room: "blue" }).pipe(
        Stream.runForEach((event) => Queue.offer(events, event)),
        Effect.forkScoped
      )
      return { client, connections, event: Queue.take(events) }
    })

  /** The next message, without events about members and subscriptions. */
  const heard = (user: Pick<Effect.Success<ReturnType<typeof enter>>, "event">): Effect.Effect<string> =>
    Effect.flatMap(user.event, (next) =>
      next._tag === "Message"
        ? Effect.succeed(`${next.message.by}: ${next.message.text}`)
        : next._tag === "Gap"
        ? Effect.die(new Error("messages are lost"))
        : heard(user))

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
      const ada = yield* enter(url, "Ada")
      assert.deepInclude(yield* ada.event, { _tag: "Subscribed" })
      yield* Effect.repeat(members("blue"), { until: (names) => names.includes("Ada") })

      const calls = yield* callsOf(url)
      yield* calls.Say({ room: "blue", by: "Grace", text: "by RPC" })
      assert.strictEqual(yield* heard(ada), "Grace: by RPC")
      assert.strictEqual(yield* say("blue", "Lin", "by HTTP"), 204)
      assert.strictEqual(yield* heard(ada), "Lin: by HTTP")
      yield* ada.client.publish(Room, { room: "blue" }, { by: "Lin", text: "by chat" })
      assert.strictEqual(yield* heard(ada), "Ada: by chat")

      const nameless = yield* enter(url, "")
      assert.deepInclude(yield* Effect.flip(nameless.client.connection.closed), { code: 3500 })

      const caller = yield* WebSocketClient.connect(`${url}/rpc`)
      child.kill("SIGTERM")
      for (const connection of [...ada.connections, caller]) {
        const end = yield* connection.closed
        assert.deepStrictEqual([end.code, end.clean], [1001, true])
      }
      assert.strictEqual(yield* ended, 130)
      assert.match(output(), /STOPPED\n$/)
      assert.notMatch(output(), /ERROR|WARN|Error/)
    }))

  it.live("a client whose connection is lost gets what it missed, once and in order", () =>
    Effect.gen(function*() {
      const { say, url } = yield* startApplication
      const ada = yield* enter(url, "Ada")
      assert.deepInclude(yield* ada.event, { _tag: "Subscribed" })
      yield* say("blue", "Lin", "one")
      assert.strictEqual(yield* heard(ada), "Lin: one")
      for (const connection of ada.connections) yield* connection.terminate
      for (const text of ["two", "three"]) yield* say("blue", "Lin", text)
      assert.strictEqual(yield* heard(ada), "Lin: two")
      yield* say("blue", "Lin", "four")
      for (const text of ["three", "four"]) assert.strictEqual(yield* heard(ada), `Lin: ${text}`)
      assert.strictEqual(ada.connections.length, 2)
    }))

  it.live(
    "its client prints who is there and what is said, and serves others after it is killed",
    () =>
      Effect.gen(function*() {
        const { members, output, say, url } = yield* startApplication
        const ada = yield* enter(url, "Ada")
        for (const name of ["one", "two"]) {
          const client = yield* runExample("application/client.js", { URL: url }, "blue", name)
          yield* client.printed(/in blue: /)
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
