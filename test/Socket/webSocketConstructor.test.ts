import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Latch, Layer, Ref, Stream } from "effect"
import { Socket as EffectSocket } from "effect/socket"
import { Connection, Socket, WebSocketClient } from "effect-ws"
import { rawServer, serve } from "../support/net.ts"

describe("Socket.layerWebSocketConstructor", () => {
  const construct = Effect.map(
    Layer.build(
      Socket.layerWebSocketConstructor((url, options) =>
        WebSocketClient.connect(url, { ...options, keepalive: false, headers: { "X-One": "1", ...options.headers } })
      )
    ),
    (context) => Context.get(context, EffectSocket.WebSocketConstructor)
  )

  const eventsOf = (socket: EffectSocket.WebSocketLike) => {
    const events: Array<EffectSocket.WebSocketEvent> = []
    for (const type of ["open", "message", "error", "close"] as const) {
      socket.addEventListener(type, (event) => events.push(event))
    }
    const until = (type: string) =>
      Effect.repeat(Effect.delay(Effect.sync(() => events.some((event) => event.type === type)), 1), {
        until: (seen) => seen
      })
    return { events, until }
  }

  it.live("makes an object with the events and methods of a browser's WebSocket", () =>
    Effect.gen(function*() {
      const { url } = yield* serve(
        Effect.gen(function*() {
          const connection = yield* Connection.Connection
          const { headers } = connection.request
          yield* connection.send(`${headers["x-one"]} ${headers["x-two"]} ${connection.subprotocol}`)
          yield* Stream.runForEach(connection.messages, connection.send)
        }),
        { serve: { protocols: ["b"] } }
      )
      const make = yield* construct
      const socket = make(url, { protocols: ["a", "b"], headers: { "X-Two": "2" } })
      const { events, until } = eventsOf(socket)
      assert.strictEqual(socket.readyState, 0)
      assert.throws(() => socket.send("early"), /not open/)
      yield* until("open")
      assert.strictEqual(socket.readyState, 1)
      assert.throws(
        () => socket.send([1] as never),
        /expected a string, a Uint8Array or a Message, got an Array/
      )
      const binary = Uint8Array.of(1)
      socket.send("text")
      socket.send(binary)
      binary.fill(0)
      yield* Effect.repeat(Effect.delay(Effect.sync(() => events.length), 1), { until: (count) => count === 4 })
      // As long as it cannot be closed like this, it is open.
      assert.throws(() => socket.close(1005), /1005/)
      assert.throws(() => socket.close(1000, "x".repeat(124)), /124/)
      assert.strictEqual(socket.readyState, 1)
      socket.close(4000, "bye")
      socket.close()
      assert.strictEqual(socket.readyState, 2)
      yield* until("close")
      assert.strictEqual(socket.readyState, 3)
      assert.deepStrictEqual(
        events.map((
          event
        ) => [event.type, event.data instanceof Uint8Array ? [...event.data] : event.data, event.code, event.reason]),
        [
          ["open", undefined, undefined, undefined],
          ["message", "1 2 b", undefined, undefined],
          ["message", "text", undefined, undefined],
          ["message", [1], undefined, undefined],
          ["close", undefined, 4000, "bye"]
        ]
      )
    }))

  it.live("close waits for pending sends, and sends after it are dropped", () =>
    Effect.gen(function*() {
      const reading = Latch.makeUnsafe(false)
      const read = Latch.makeUnsafe(false)
      const received: Array<number> = []
      const { url } = yield* serve(Effect.flatMap(Connection.Connection, (connection) =>
        Effect.andThen(
          reading.await,
          Effect.ensuring(
            Stream.runForEach(connection.messages, ({ bytes }) => Effect.sync(() => received.push(bytes[0]))),
            read.open
          )
        )))
      const socket = (yield* construct)(url)
      const { events, until } = eventsOf(socket)
      yield* until("open")
      for (let i = 0; i < 40; i++) socket.send(new Uint8Array(1 << 20).fill(i))
      socket.close(4000, "bye")
      socket.send(Uint8Array.of(99))
      assert.strictEqual(socket.readyState, 2)
      reading.openUnsafe()
      yield* until("close")
      yield* read.await
      assert.deepStrictEqual(received, Array.from({ length: 40 }, (_, i) => i))
      assert.deepInclude(events.at(-1), { type: "close", code: 4000, reason: "bye" })
    }))

  for (const [name, close] of [["closed while it connects", true], ["refused", false]] as const) {
    it.live(`${name}: emits error, and close with 1006`, () =>
      Effect.gen(function*() {
        const { port } = yield* rawServer((peer) => {
          if (!close) peer.socket.end("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        })
        const socket = (yield* construct)(`ws://127.0.0.1:${port}/`, "chat")
        const { events, until } = eventsOf(socket)
        if (close) socket.close()
        yield* until("close")
        assert.deepStrictEqual(events.map(({ code, type }) => [type, code]), [["error", undefined], ["close", 1006]])
      }))
  }

  it.live("a removed listener is not called, and a once listener is called once", () =>
    Effect.gen(function*() {
      const { url } = yield* serve(
        Effect.flatMap(Connection.Connection, (connection) => connection.sendAll(["a", "b"]))
      )
      const socket = (yield* construct)(url)
      const heard: Array<unknown> = []
      const removed = () => heard.push("removed")
      socket.addEventListener("message", removed)
      socket.removeEventListener("message", removed)
      socket.addEventListener("message", ({ data }) => heard.push(data), { once: true })
      const { until } = eventsOf(socket)
      yield* until("close")
      assert.deepStrictEqual(heard, ["a"])
    }))

  it.live("applies backpressure to the peer while it is paused", () =>
    Effect.gen(function*() {
      const sent = yield* Ref.make(0)
      const total = 200
      const { url } = yield* serve(Effect.flatMap(Connection.Connection, (connection) =>
        Effect.repeat(
          Effect.andThen(connection.send(new Uint8Array(256 * 1024)), Ref.updateAndGet(sent, (n) => n + 1)),
          { until: (n) => n === total }
        )))
      const context = yield* Layer.build(
        EffectSocket.layerWebSocket(url).pipe(Layer.provide(Socket.layerWebSocketConstructor((target, options) =>
          WebSocketClient.connect(target, { ...options, keepalive: false })
        )))
      )
      const { pull } = yield* Context.get(context, EffectSocket.Socket).reader
      // What fits into the buffers between the two goes, and no more.
      const settled = yield* Effect.repeat(
        Effect.flatMap(Ref.get(sent), (before) =>
          Effect.map(Effect.delay(Ref.get(sent), 100), (after) =>
            after > 0 && after === before)),
        {
          until: (still) =>
            still
        }
      )
      assert.isTrue(settled)
      assert.isBelow(yield* Ref.get(sent), total)
      let read = 0
      while (read < total) {
        read += (yield* pull).length
      }
      assert.strictEqual(yield* Ref.get(sent), total)
    }))
})
