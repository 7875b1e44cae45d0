import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Stream } from "effect"
import { BrowserClient, type HandshakeError } from "effect-ws"
import { TestClock } from "effect/testing"
import { fakeSockets } from "../../support/fakeWebSocket.ts"
import { contentOf } from "../../support/memory.ts"

/** Begins to connect. The test drives the socket. */
const begin = (url: string, options?: BrowserClient.ConnectOptions) =>
  Effect.gen(function*() {
    const { layer, sockets } = fakeSockets()
    const fiber = yield* Effect.forkScoped(Effect.provide(BrowserClient.connect(url, options), layer), {
      startImmediately: true
    })
    const [socket] = sockets
    socket.onClose = (code) => setImmediate(() => socket.end(code))
    return { fiber, socket }
  })

const throwing = (error: unknown) =>
  Layer.succeed(BrowserClient.WebSocketConstructor, () => {
    throw error
  })

/** Runs with the global `location` of a page. */
const onPage = <A, E, R>(href: string, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.acquireUseRelease(
    Effect.sync(() => Object.assign(globalThis, { location: { href } })),
    () => effect,
    () => Effect.sync(() => Reflect.deleteProperty(globalThis, "location"))
  )

describe("WebSocketConstructor", () => {
  it("throws InvalidOption without a global WebSocket, and tells what to provide", () => {
    const before = Object.getOwnPropertyDescriptor(globalThis, "WebSocket")
    Object.defineProperty(globalThis, "WebSocket", { value: undefined, configurable: true })
    try {
      assert.throws(
        () => BrowserClient.WebSocketConstructor.defaultValue()("ws://there/", []),
        "expected a global WebSocket, got undefined; provide BrowserClient.WebSocketConstructor"
      )
    } finally {
      if (before === undefined) Reflect.deleteProperty(globalThis, "WebSocket")
      else Object.defineProperty(globalThis, "WebSocket", before)
    }
  })
})

describe("connect", () => {
  it.effect("asks for ArrayBuffers, and gives URL and subprotocols to the constructor", () =>
    Effect.gen(function*() {
      const { fiber, socket } = yield* begin("https://there/feed", { protocols: ["v2", "v1"] })
      assert.deepStrictEqual([socket.url, socket.protocols, socket.binaryType], [
        "wss://there/feed",
        ["v2", "v1"],
        "arraybuffer"
      ])
      socket.accept("v1")
      assert.strictEqual((yield* Fiber.join(fiber)).subprotocol, "v1")
    }))

  it.effect("resolves a URL at that of the page", () =>
    onPage(
      "https://example.com/app/",
      Effect.gen(function*() {
        const { fiber, socket } = yield* begin("../feed")
        assert.strictEqual(socket.url, "wss://example.com/feed")
        socket.lose()
        yield* Effect.exit(Fiber.join(fiber))
      })
    ))

  it.effect("loses no message that arrives with the open event", () =>
    Effect.gen(function*() {
      const { fiber, socket } = yield* begin("ws://there/")
      socket.accept()
      socket.deliver("a")
      socket.deliver(Uint8Array.of(1, 2).buffer)
      const connection = yield* Fiber.join(fiber)
      assert.deepStrictEqual(
        yield* connection.messages.pipe(Stream.take(2), Stream.map(contentOf), Stream.runCollect),
        ["a", [1, 2]]
      )
    }))

  it.effect("fails with ConnectFailed, without the query, when the browser cannot connect", () =>
    Effect.gen(function*() {
      const { fiber, socket } = yield* begin("ws://there/feed?token=secret")
      socket.lose()
      const error = (yield* Effect.flip(Fiber.join(fiber))) as HandshakeError.ConnectFailed
      assert.deepStrictEqual([error._tag, error.url, error.phase], ["ConnectFailed", "ws://there/feed", "browser"])
      assert.include(error.message, "a browser does not report why")
      assert.deepStrictEqual(socket.closes, [[1000, undefined]])
    }))

  it.effect("fails with the error that the socket reports, if there is one", () =>
    Effect.gen(function*() {
      const { fiber, socket } = yield* begin("ws://there/")
      const cause = new Error("getaddrinfo ENOTFOUND")
      socket.lose(cause)
      assert.strictEqual((yield* Effect.flip(Fiber.join(fiber))).cause, cause)
    }))

  it.effect("advises wss on a page of https", () =>
    onPage(
      "https://example.com/",
      Effect.gen(function*() {
        const { fiber, socket } = yield* begin("ws://there/")
        socket.lose()
        assert.include((yield* Effect.flip(Fiber.join(fiber))).message, "a page of https can only open wss URLs")
      })
    ))

  it.effect("fails with HandshakeTimeout, closes the socket, and ignores a late open", () =>
    Effect.gen(function*() {
      const { fiber, socket } = yield* begin("ws://there/", { handshakeTimeout: "3 seconds" })
      yield* TestClock.adjust("2999 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const error = yield* Effect.flip(Fiber.join(fiber))
      assert.include(error.message, "timed out after 3s while waiting for the browser to open the connection")
      socket.accept()
      socket.deliver("late")
      socket.lose()
      assert.deepStrictEqual([socket.closes, socket.listenersOf("open")], [[[1000, undefined]], 0])
    }))

  it.effect("closes the socket when it is interrupted", () =>
    Effect.gen(function*() {
      const { fiber, socket } = yield* begin("ws://there/")
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(socket.closes, [[1000, undefined]])
      assert.strictEqual(socket.listenersOf("message") + socket.listenersOf("close"), 0)
      socket.lose()
    }))

  it.effect("closes a socket that opened in the turn of the interruption", () =>
    Effect.gen(function*() {
      const { layer, sockets } = fakeSockets()
      const fiber = yield* Effect.andThen(BrowserClient.connect("ws://there/"), Effect.never).pipe(
        Effect.scoped,
        Effect.provide(layer),
        Effect.forkChild({ startImmediately: true })
      )
      sockets[0].onClose = (code) => setImmediate(() => sockets[0].end(code))
      sockets[0].accept()
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(sockets[0].closes.length, 1)
    }))

  for (const name of ["SecurityError", "SyntaxError"]) {
    it.effect(`fails with InvalidUrl when the constructor throws a ${name}`, () =>
      Effect.gen(function*() {
        const error = yield* BrowserClient.connect("ws://there/?a=1").pipe(
          Effect.provide(throwing(new DOMException("not allowed", name))),
          Effect.flip
        )
        assert.deepStrictEqual([error._tag, error.message], [
          "InvalidUrl",
          `invalid WebSocket URL "ws://there/": not allowed`
        ])
      }))
  }

  it.effect("fails with ConnectFailed when the constructor throws anything else", () =>
    Effect.gen(function*() {
      const error = yield* BrowserClient.connect("ws://there/").pipe(Effect.provide(throwing("text")), Effect.flip)
      assert.deepStrictEqual([error._tag, error.message], ["ConnectFailed", "could not connect to ws://there/: text"])
    }))

  it.effect("fails with ConnectFailed when the constructor throws a value that throws itself", () =>
    Effect.gen(function*() {
      const error = yield* BrowserClient.connect("ws://there/").pipe(
        Effect.provide(throwing(Object.create(null))),
        Effect.flip
      )
      assert.deepStrictEqual(
        [error._tag, error.message],
        ["ConnectFailed", "could not connect to ws://there/: [Object: null prototype] {}"]
      )
    }))

  it.effect("fails with InvalidOption where there is no WebSocket", () =>
    Effect.gen(function*() {
      const { WebSocket } = globalThis
      Reflect.deleteProperty(globalThis, "WebSocket")
      const error = yield* Effect.ensuring(
        Effect.flip(BrowserClient.connect("ws://there/")),
        Effect.sync(() => WebSocket !== undefined && Object.assign(globalThis, { WebSocket }))
      )
      assert.deepStrictEqual(
        [error._tag, error.message.slice(0, 39)],
        [
          "InvalidOption",
          `invalid option "WebSocketConstructor": e`
        ].map((text, i) => i === 0 ? text : text.slice(0, 39))
      )
    }))

  it.effect("fails with InvalidOption before it makes a socket", () =>
    Effect.gen(function*() {
      for (const option of ["maxUnreadAmount", "outboundHighWaterMark", "maxMessageSize", "closeTimeout"] as const) {
        const { layer, sockets } = fakeSockets()
        const error = yield* BrowserClient.connect("ws://there/", { [option]: -1 }).pipe(
          Effect.provide(layer),
          Effect.flip
        )
        assert.deepInclude(error, { _tag: "InvalidOption", option })
        assert.strictEqual(sockets.length, 0)
      }
    }))
})
