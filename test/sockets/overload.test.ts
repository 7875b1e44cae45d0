/** Overload: limits on connections and handshakes, and their effect on other connections. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger, Stream } from "effect"
import { Connection, Frame, Handshake, WebSocketClient } from "effect-ws"
import { TestClock } from "effect/testing"
import * as Net from "node:net"
import { localhostTls as tls } from "../support/certificates.ts"
import { headEnd, rawConnect, rawHandshake, rawSocket, requestText, serve } from "../support/net.ts"
import { eventually, memoryInUse, openSockets } from "../support/resources.ts"
import { echo } from "../support/serving.ts"

/** Requests an upgrade from an address of this machine, and returns the head of the response. */
const ask = (port: number, localAddress = "127.0.0.1") =>
  Effect.gen(function*() {
    const socket = yield* Effect.acquireRelease(
      Effect.sync(() => Net.connect({ port, host: "127.0.0.1", localAddress })),
      (opened) => Effect.sync(() => opened.destroy())
    )
    const peer = rawSocket(socket)
    peer.write(requestText())
    const head = (yield* peer.until((received) => received.includes(headEnd))).toString("latin1")
    return { ...peer, head, status: Number(head.split(" ")[1]) }
  })

const retryAfter = /\r\nRetry-After: ([5-9]|1[0-5])\r\n/

describe("limits on connections and handshakes", () => {
  it.live("maxConnections: rejects with 503 and Retry-After before decide, and keeps open connections", () =>
    Effect.gen(function*() {
      let decisions = 0
      const server = yield* serve(echo, {
        serve: {
          maxConnections: 3,
          decide: () => Effect.sync(() => (decisions++, Handshake.accept()))
        }
      })
      const open = yield* Effect.replicateEffect(rawHandshake(server.port), 3)
      for (let i = 0; i < 5; i++) {
        const rejected = yield* ask(server.port)
        assert.strictEqual(rejected.status, 503)
        assert.match(rejected.head, retryAfter)
        yield* rejected.ended
      }
      assert.strictEqual(decisions, 3)
      for (const peer of open) {
        peer.send(Frame.text("still here"))
        yield* peer.untilFrames(1)
      }
      open[0].socket.resetAndDestroy()
      while ((yield* server.connections).length === 3) yield* Effect.sleep(1)
      assert.strictEqual((yield* ask(server.port)).status, 101)
    }))

  it.live("maxConnections: a client fails with HandshakeRejected", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { serve: { maxConnections: 0 } })
      const error = yield* Effect.flip(WebSocketClient.connect(server.url))
      assert.deepInclude(error, { _tag: "HandshakeRejected", status: 503 })
    }))

  it.live("maxConnectionsPerAddress: one address cannot use up the connections of others", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { serve: { maxConnectionsPerAddress: 2 } })
      const statuses = ["127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.2", "127.0.0.2"]
      const peers = yield* Effect.forEach(statuses, (address) => ask(server.port, address))
      assert.deepStrictEqual(peers.map(({ status }) => status), [101, 101, 503, 101, 101, 503])
    }))

  for (const secure of [false, true]) {
    it.live(`maxPendingHandshakes: closes the oldest socket that has sent nothing${secure ? ", over TLS" : ""}`, () =>
      Effect.gen(function*() {
        const server = yield* serve(echo, { maxPendingHandshakes: 10, ...secure ? { tls } : {} })
        const silent: Array<Net.Socket> = []
        let cut = 0
        for (let i = 0; i < 50; i++) {
          const { socket } = yield* rawConnect(server.port)
          silent.push(socket)
          socket.on("close", () => cut++)
          socket.on("error", () => {})
          socket.on("end", () => socket.destroy())
        }
        yield* eventually(() => cut >= 40)
        assert.isTrue(silent.slice(40).every((socket) => !socket.destroyed))
        // A socket that has sent a request is not pending, and stays open while others connect and send nothing.
        const client = yield* WebSocketClient.connect(server.url.replace("127.0.0.1", "localhost"), {
          tls: { ca: tls.cert }
        })
        for (let i = 0; i < 20; i++) yield* rawConnect(server.port)
        yield* eventually(() => cut >= 50)
        yield* client.send("here")
        assert.deepInclude(yield* client.receive, { _tag: "Text" })
      }))
  }

  it.live("maxPendingHandshakes: is 1,024 by default", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { handshakeTimeout: "1 hour" })
      const silent = yield* Effect.replicateEffect(rawConnect(server.port), 1023)
      // It was pending, and is not any more.
      yield* rawHandshake(server.port)
      assert.isTrue(silent.every(({ socket }) => socket.readable))
      for (let i = 0; i < 2; i++) yield* rawConnect(server.port)
      yield* silent[0].ended
      assert.isTrue(silent.slice(1).every(({ socket }) => socket.readable))
    }), 20_000)

  it.live("maxHeaderSize: is 16 KiB by default", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo)
      const statusWith = (size: number) =>
        Effect.gen(function*() {
          const peer = yield* rawConnect(server.port)
          peer.write(requestText({ "X-Long": "x".repeat(size) }))
          return (yield* peer.until((received) => received.includes(headEnd))).toString("latin1").split(" ")[1]
        })
      assert.strictEqual(yield* statusWith(15 * 1024), "101")
      assert.strictEqual(yield* statusWith(17 * 1024), "431")
    }))

  for (const secure of [false, true]) {
    it.effect(`handshakeTimeout: closes the sockets of handshakes that make no progress${secure ? ", over TLS" : ""}`, () =>
      Effect.gen(function*() {
        const server = yield* serve(echo, secure ? { tls } : {})
        const connect = Effect.gen(function*() {
          const peer = yield* rawConnect(server.port)
          let cut = false
          peer.socket.on("end", () => (cut = true)).on("error", () => (cut = true))
          peer.write(secure ? Buffer.from("160301", "hex") : "GET / HTT")
          // The server accepts connections in order: once a later one has a response, it has accepted this one.
          yield* Effect.scoped(WebSocketClient.connect(server.url.replace("127.0.0.1", "localhost"), {
            tls: { ca: tls.cert },
            closeTimeout: 0
          }))
          return { ...peer, isCut: () => cut }
        })
        const first = yield* connect
        yield* TestClock.adjust("6 seconds")
        const second = yield* connect
        yield* TestClock.adjust("3999 millis")
        assert.deepStrictEqual([first.isCut(), second.isCut()], [false, false])
        yield* TestClock.adjust("1 millis")
        yield* first.ended
        assert.isFalse(second.isCut())
        yield* TestClock.adjust("6 seconds")
        yield* second.ended
      }))
  }

  it.live("hundreds of slow handshakes do not delay others", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo)
      const slow = yield* Effect.replicateEffect(rawConnect(server.port), 300)
      for (const peer of slow) peer.socket.on("error", () => {})
      const drip = setInterval(() => slow.forEach(({ socket }) => socket.writable && socket.write("X")), 10)
      yield* Effect.addFinalizer(() => Effect.sync(() => clearInterval(drip)))
      for (let i = 0; i < 50; i++) {
        yield* Effect.scoped(Effect.gen(function*() {
          const peer = yield* rawHandshake(server.port)
          peer.send(Frame.text("quick"), Frame.close(1000))
          yield* peer.untilFrames(2)
        })).pipe(Effect.timeout("2 seconds"))
      }
    }), 20_000)
})

describe("isolation of connections", () => {
  it.live("a flood does not starve other connections, which are served evenly", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo)
      const flood = yield* rawHandshake(server.port)
      flood.socket.removeAllListeners("data")
      flood.socket.resume()
      const one = Frame.encode(Frame.binary(new Uint8Array(10)), 7)
      const many = Buffer.alloc(one.length * 5000, one)
      const more = () => {
        while (flood.socket.writable && flood.socket.write(many));
      }
      flood.socket.on("drain", more)
      more()

      const others = 10
      const counts = Array.from({ length: others }, () => 0)
      const clients = yield* Effect.replicateEffect(WebSocketClient.connect(server.url), others)
      const goal = 100
      const first = yield* Effect.raceAll(clients.map((client, i) =>
        Effect.gen(function*() {
          while (counts[i] < goal) {
            yield* client.send("one")
            yield* client.receive
            counts[i]++
          }
          return i
        })
      ))
      assert.strictEqual(counts[first], goal)
      // No connection is far behind the first.
      assert.isAbove(Math.min(...counts), goal / 2, String(counts))
      yield* Effect.forEach(clients, (client) => client.close(), { concurrency: others })
    }), 20_000)

  it.live("a handler that fails or dies closes only its own connection, with 1011", () =>
    Effect.gen(function*() {
      const server = yield* serve(Effect.gen(function*() {
        const connection = yield* Connection.Connection
        yield* Stream.runForEach(connection.messages, (message): Effect.Effect<void, unknown> => {
          if (message._tag === "Text" && message.text === "throw") throw new Error("on purpose")
          if (message._tag === "Text" && message.text === "fail") return Effect.fail("on purpose")
          if (message._tag === "Text" && message.text === "die") return Effect.die("on purpose")
          if (message._tag === "Text" && message.text === "misuse") {
            return connection.send(Array.from({ length: 5000 }) as never)
          }
          return connection.send(message)
        })
      }))
      const others = yield* Effect.replicateEffect(rawHandshake(server.port), 5)
      for (const word of ["throw", "fail", "die", "misuse"]) {
        const bad = yield* rawHandshake(server.port)
        for (const other of others) other.send(Frame.text("before"))
        bad.send(Frame.text(word))
        for (const other of others) other.send(Frame.text("after"))
        const [close] = yield* bad.untilFrames(1)
        assert.deepInclude(Frame.readClose(close.payload), { code: 1011 })
        bad.send(Frame.close(1011))
        yield* bad.ended
      }
      for (const other of others) assert.strictEqual((yield* other.untilFrames(8)).length, 8)
      assert.strictEqual((yield* server.connections).length, 5)
    }).pipe(Effect.provide(Logger.layer([]))))

  it.live("memory and sockets return to their level after many connections", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { serve: { closeTimeout: "100 millis" } })
      const sockets = openSockets()
      const visit = Effect.scoped(Effect.gen(function*() {
        const peer = yield* rawHandshake(server.port)
        peer.send(Frame.text("x".repeat(1000)))
        yield* peer.untilFrames(1)
        peer.socket.resetAndDestroy()
      }))
      const visits = (count: number) => Effect.replicateEffect(visit, count, { concurrency: 10, discard: true })
      const left = Effect.andThen(Effect.suspend(() => eventually(() => openSockets() <= sockets)), memoryInUse)
      yield* visits(300)
      const before = yield* left
      yield* visits(1000)
      const after = yield* left
      // Less than 1 KiB for each of 1,000 connections, which take more than 5 KiB while they are open.
      assert.isBelow(after - before, 1_000 * 1024)
    }), 60_000)
})
