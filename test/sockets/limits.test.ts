/** Limits and timeouts, which are the same on servers of this library and on routes of an application. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Fiber } from "effect"
import { Connection, type ConnectionError, type Extension, Frame, Handshake } from "effect-ws"
import { TestClock } from "effect/testing"
import * as Net from "node:net"
import { headEnd, rawHandshake, rawSocket, requestText } from "../support/net.ts"
import { type Options, ways } from "../support/serverKinds.ts"

/** Requests an upgrade from an address of this machine. */
const request = (port: number, localAddress = "127.0.0.1", headers?: Readonly<Record<string, string>>) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => Net.connect({ port, host: "127.0.0.1", localAddress })),
      (socket) => Effect.sync(() => socket.destroy())
    ),
    (socket) => {
      const peer = rawSocket(socket)
      peer.write(requestText(headers))
      return { ...peer, head: Effect.map(peer.until((received) => received.includes(headEnd)), String) }
    }
  )

const statusOf = (head: string) => Number(head.split(" ")[1])

const ask = (port: number, localAddress?: string) =>
  Effect.gen(function*() {
    const peer = yield* request(port, localAddress)
    const head = yield* peer.head
    return { ...peer, head, status: statusOf(head) }
  })

/** A handler that sends a message, runs `during`, and ends with its connection. */
const watched = (during: (connection: Connection.Connection) => Effect.Effect<unknown, unknown>) =>
  Effect.map(Deferred.make<ConnectionError.ConnectionClosed>(), (ended) => ({
    ended: Deferred.await(ended),
    handler: Effect.gen(function*() {
      const connection = yield* Connection.Connection
      yield* connection.send("ready")
      yield* Effect.forkScoped(during(connection))
      yield* Deferred.succeed(ended, yield* connection.closed)
    })
  }))

const passive = watched(() => Effect.void)

/** Opens a connection, and waits for the first message of its handler. */
const open = (port: number) => Effect.tap(rawHandshake(port), (peer) => peer.untilFrames(1))

const codeOf = ({ payload }: Frame.Frame) => Frame.readClose(payload)

/** A frame header that declares a payload of `length` bytes, without the payload. */
const declared = (length: number) => {
  const header = Buffer.alloc(14)
  Frame.encodeHeader(header, 0, { opcode: Frame.Opcode.Binary, fin: true, reserved: 0 }, length, 7)
  return header
}

const fragment = (size: number, fin = false) => Frame.continuation(new Uint8Array(size), { fin })
const first = (size: number) => Frame.binary(new Uint8Array(size), { fin: false })

const masked = (...frames: ReadonlyArray<Frame.Frame>) => Buffer.concat(frames.map((frame) => Frame.encode(frame, 7)))

const messages: ReadonlyArray<
  readonly [title: string, options: Options, bytes: Buffer, code: number, cause: string]
> = [
  ["maxMessageSize, as it is declared", { maxMessageSize: 1000 }, declared(1001), 1009, "MessageTooLarge"],
  ["maxMessageSize of 16 MiB, unless it is said", {}, declared(16 * 1024 * 1024 + 1), 1009, "MessageTooLarge"],
  [
    "maxMessageSize, over fragments",
    { maxMessageSize: 1000 },
    masked(first(400), fragment(400), fragment(201, true)),
    1009,
    "MessageTooLarge"
  ],
  [
    "maxFragments",
    { maxFragments: 3 },
    masked(first(1), fragment(1), fragment(1), fragment(1)),
    1008,
    "TooManyFragments"
  ]
]

for (const [way, serveBy] of Object.entries(ways)) {
  describe(way, () => {
    for (const [title, options, bytes, code, cause] of messages) {
      it.live(title, () =>
        Effect.gen(function*() {
          const { ended, handler } = yield* passive
          const peer = yield* open(yield* serveBy(handler, options))
          peer.write(bytes)
          const [, close] = yield* peer.untilFrames(2)
          assert.deepInclude(codeOf(close), { code })
          assert.strictEqual((yield* ended).cause?._tag, cause)
        }))
    }

    it.live(
      "inboundHighWaterMark: unread data stays below it plus one read of the socket",
      () =>
        Effect.gen(function*() {
          const total = 4000
          const size = 4096
          const inboundHighWaterMark = 10_000
          let most = 0
          let taken = 0
          const done = yield* Deferred.make<void>()
          const { handler } = yield* watched((connection) =>
            Effect.gen(function*() {
              for (; taken < total; taken++) {
                most = Math.max(most, (yield* connection.stats).unreadAmount)
                yield* connection.receive
                // A turn of the event loop, in which Node reads the socket unless it is paused.
                yield* Effect.promise(() => new Promise(setImmediate))
              }
              yield* Deferred.succeed(done, undefined)
            })
          )
          const peer = yield* open(yield* serveBy(handler, { inboundHighWaterMark }))
          const message = masked(Frame.binary(new Uint8Array(size)))
          peer.write(Buffer.alloc(message.length * total, message))
          yield* Deferred.await(done)
          assert.isAtLeast(most, inboundHighWaterMark)
          // One read of Node, and the incomplete frame.
          assert.isAtMost(most, inboundHighWaterMark + 64 * 1024 + size + 1024)
        }),
      20_000
    )

    it.live("discard: replies to pings and to the close frame after any amount of data", () =>
      Effect.gen(function*() {
        const ended = yield* Deferred.make<ConnectionError.ConnectionClosed>()
        const handler = Effect.gen(function*() {
          const connection = yield* Connection.Connection
          yield* connection.send("ready")
          yield* Deferred.succeed(ended, yield* connection.discard)
        })
        const peer = yield* open(yield* serveBy(handler))
        const data = masked(Frame.binary(new Uint8Array(50_000)))
        peer.write(Buffer.concat([Buffer.alloc(data.length * 40, data), masked(Frame.ping(Buffer.from("there?")))]))
        const [, pong] = yield* peer.untilFrames(2)
        assert.deepStrictEqual([pong.opcode, Buffer.from(pong.payload).toString()], [Frame.Opcode.Pong, "there?"])
        peer.write(Buffer.concat([Buffer.alloc(data.length * 40, data), masked(Frame.close(1000))]))
        assert.isTrue((yield* Deferred.await(ended)).clean)
      }))

    it.live("slowConsumer: closes the connection of a peer that reads nothing", () =>
      Effect.gen(function*() {
        const { ended, handler } = yield* watched((connection) =>
          Effect.forever(connection.send(new Uint8Array(64 * 1024)))
        )
        const peer = yield* open(
          yield* serveBy(handler, {
            slowConsumer: "close",
            slowConsumerTimeout: 50,
            closeTimeout: 0
          })
        )
        peer.socket.pause()
        const { cause, sent } = yield* ended
        assert.deepStrictEqual([cause?._tag, sent?.code], ["SlowConsumer", 1008])
      }))

    it.effect("writeTimeout: ends the connection of a peer that reads nothing", () =>
      Effect.gen(function*() {
        const { ended, handler } = yield* watched((connection) =>
          Effect.forever(connection.send(new Uint8Array(1024 * 1024)))
        )
        const peer = yield* open(yield* serveBy(handler, { writeTimeout: "8 seconds", keepalive: false }))
        peer.socket.pause()
        const waiting = yield* Effect.forkChild(ended)
        // Time has no effect until the kernel accepts no more data.
        while (waiting.pollUnsafe() === undefined) {
          yield* Effect.promise(() => new Promise(setImmediate))
          yield* TestClock.adjust("1 second")
        }
        assert.isAtLeast(yield* Clock.currentTimeMillis, 8000)
        assert.strictEqual((yield* Fiber.join(waiting)).cause?._tag, "WriteTimeout")
      }))

    it.effect("keepalive: is enabled by default", () =>
      Effect.gen(function*() {
        const { ended, handler } = yield* passive
        const peer = yield* open(yield* serveBy(handler))
        yield* TestClock.adjust("20 seconds")
        const [, ping] = yield* peer.untilFrames(2)
        assert.strictEqual(ping.opcode, Frame.Opcode.Ping)
        const waiting = yield* Effect.forkChild(ended)
        yield* TestClock.adjust("25 seconds")
        assert.strictEqual((yield* Fiber.join(waiting)).cause?._tag, "KeepaliveTimeout")
      }))

    it.effect("idleTimeout: closes a connection without messages", () =>
      Effect.gen(function*() {
        const { ended, handler } = yield* passive
        const peer = yield* open(yield* serveBy(handler, { idleTimeout: "8 seconds", keepalive: false }))
        yield* TestClock.adjust("10 seconds")
        const [, close] = yield* peer.untilFrames(2)
        assert.deepInclude(codeOf(close), { code: 1001 })
        peer.send(Frame.close(1001))
        assert.strictEqual((yield* ended).cause?._tag, "IdleTimeout")
      }))

    it.effect("closeTimeout: ends a closing handshake without a reply", () =>
      Effect.gen(function*() {
        const { ended, handler } = yield* watched((connection) => connection.close(4000))
        const peer = yield* open(yield* serveBy(handler, { keepalive: false }))
        yield* peer.untilFrames(2)
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual((yield* ended).cause?._tag, "CloseTimeout")
        yield* peer.ended
      }))

    it.effect("handlerTimeout: interrupts a handler after the end of its connection", () =>
      Effect.gen(function*() {
        const ended = yield* Deferred.make<void>()
        const interrupted = yield* Deferred.make<void>()
        const handler = Effect.gen(function*() {
          const connection = yield* Connection.Connection
          yield* connection.send("ready")
          yield* connection.closed
          yield* Deferred.succeed(ended, undefined)
          return yield* Effect.never
        }).pipe(Effect.onInterrupt(() => Deferred.succeed(interrupted, undefined)))
        const peer = yield* open(yield* serveBy(handler, { handlerTimeout: "5 seconds" }))
        peer.socket.resetAndDestroy()
        yield* Deferred.await(ended)
        yield* TestClock.adjust("4 seconds")
        assert.isFalse(yield* Deferred.isDone(interrupted))
        yield* TestClock.adjust("1 second")
        yield* Deferred.await(interrupted)
      }))

    it.live("maxConnections: counts undecided requests, and connections until they end", () =>
      Effect.gen(function*() {
        const deciding = yield* Deferred.make<void>()
        const proceed = yield* Deferred.make<void>()
        let decisions = 0
        const port = yield* serveBy(Effect.flatMap(Connection.Connection, ({ closed }) => closed), {
          maxConnections: 2,
          decide: () =>
            Effect.suspend(() => ++decisions === 2 ? Deferred.succeed(deciding, undefined) : Effect.void).pipe(
              Effect.andThen(Deferred.await(proceed)),
              Effect.as(Handshake.accept())
            )
        })
        const undecided = [yield* request(port), yield* request(port)]
        yield* Deferred.await(deciding)
        const rejected = yield* ask(port)
        assert.strictEqual(rejected.status, 503)
        assert.match(rejected.head, /\r\nretry-after: ([5-9]|1[0-5])\r\n/i)
        yield* rejected.ended
        assert.strictEqual(decisions, 2)
        yield* Deferred.succeed(proceed, undefined)
        assert.deepStrictEqual((yield* Effect.all(undecided.map(({ head }) => head))).map(statusOf), [101, 101])
        assert.strictEqual((yield* ask(port)).status, 503)
        undecided[0].socket.resetAndDestroy()
        yield* Effect.repeat(Effect.scoped(ask(port)), { until: ({ status }) => status === 101 })
      }))

    it.live("maxConnections: stops counting clients that leave before the decision or are rejected", () =>
      Effect.gen(function*() {
        const deciding = yield* Deferred.make<void>()
        const interrupted = yield* Deferred.make<void>()
        let decisions = 0
        const port = yield* serveBy(Effect.flatMap(Connection.Connection, ({ closed }) => closed), {
          maxConnections: 1,
          decide: () => {
            switch (++decisions) {
              case 1:
                return Effect.andThen(Deferred.succeed(deciding, undefined), Effect.never).pipe(
                  Effect.onInterrupt(() => Deferred.succeed(interrupted, undefined))
                )
              case 2:
                return Effect.succeed(Handshake.reject({ status: 402 }))
              default:
                return Effect.succeed(Handshake.accept())
            }
          }
        })
        const leaving = yield* request(port)
        yield* Deferred.await(deciding)
        assert.strictEqual((yield* ask(port)).status, 503)
        leaving.socket.resetAndDestroy()
        yield* Deferred.await(interrupted)
        const statusWhenFree = Effect.repeat(Effect.map(ask(port), ({ status }) => status), {
          until: (status) => status !== 503
        })
        assert.strictEqual(yield* statusWhenFree, 402)
        assert.strictEqual(yield* statusWhenFree, 101)
      }))

    it.live("maxConnectionsPerAddress: limits each address on its own", () =>
      Effect.gen(function*() {
        const port = yield* serveBy(Effect.flatMap(Connection.Connection, ({ closed }) => closed), {
          maxConnectionsPerAddress: 2
        })
        const addresses = ["127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.2", "127.0.0.2"]
        const peers = yield* Effect.forEach(addresses, (address) => ask(port, address))
        assert.deepStrictEqual(peers.map(({ status }) => status), [101, 101, 503, 101, 101, 503])
      }))

    for (const [seconds, handshakeTimeout] of [[10, undefined], [3, "3 seconds"]] as const) {
      it.effect(`handshakeTimeout: interrupts a decision after ${seconds} seconds`, () =>
        Effect.gen(function*() {
          const deciding = yield* Deferred.make<void>()
          const port = yield* serveBy(Effect.void, {
            ...handshakeTimeout === undefined ? {} : { handshakeTimeout },
            decide: () => Effect.andThen(Deferred.succeed(deciding, undefined), Effect.never)
          })
          const peer = yield* request(port)
          yield* Deferred.await(deciding)
          yield* TestClock.adjust(seconds * 1000 - 1)
          assert.strictEqual(peer.received().length, 0)
          yield* TestClock.adjust(1)
          assert.strictEqual(statusOf(yield* peer.head), 503)
        }))
    }

    it.effect("handshakeTimeout: includes the start of extensions after the decision", () =>
      Effect.gen(function*() {
        const deciding = yield* Deferred.make<void>()
        const started = yield* Deferred.make<void>()
        const slow: Extension.Extension = {
          name: "x-slow",
          reservedBits: 0,
          offers: [[]],
          accept: () => ({
            parameters: [],
            open: Effect.andThen(Deferred.succeed(started, undefined), Effect.never)
          }),
          confirm: () => "is for a server"
        }
        const port = yield* serveBy(Effect.void, {
          handshakeTimeout: "6 seconds",
          extensions: [slow],
          decide: () =>
            Deferred.succeed(deciding, undefined).pipe(
              Effect.andThen(Effect.sleep("4 seconds")),
              Effect.as(Handshake.accept())
            )
        })
        const peer = yield* request(port, undefined, { "Sec-WebSocket-Extensions": "x-slow" })
        yield* Deferred.await(deciding)
        yield* TestClock.adjust("4 seconds")
        yield* Deferred.await(started)
        yield* TestClock.adjust("2 seconds")
        yield* peer.ended
      }))
  })
}
