/** Lifetimes of handlers, and of resources that middleware, `decide` and handlers acquire. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, type Duration, Effect, Exit, Fiber, Latch, Layer, Scope, Stream } from "effect"
import * as Testing from "effect-ws/Testing"
import { TestClock } from "effect/testing"
import { HttpRouter, HttpServer } from "effect/http"
import { Connection, type Extension, Frame, Handshake, WebSocketServer } from "effect-ws"
import { application, serveApplication } from "../support/application.ts"
import { contentOf, turn } from "../support/memory.ts"
import { rawConnect, rawHandshake, requestText, serve } from "../support/net.ts"
import { eventually } from "../support/resources.ts"
import { ways } from "../support/serverKinds.ts"
import { connect, idle } from "../support/serving.ts"

/** Records acquisitions and releases in order. */
const makeJournal = () => {
  const lines: Array<string> = []
  const acquire = (name: string, releasing: Effect.Effect<unknown> = Effect.void) =>
    Effect.acquireRelease(
      Effect.sync(() => void lines.push(`acquire ${name}`)),
      () => Effect.andThen(releasing, Effect.sync(() => void lines.push(`release ${name}`)))
    )
  return { acquire, lines, until: (line: string) => eventually(() => lines.includes(line)) }
}

const statusOf = (response: Buffer) => Number(response.toString("latin1").split(" ")[1])

for (const [way, serveBy] of Object.entries(ways)) {
  describe(`${way}: resources of decide`, () => {
    it.live("live until the connection and its handler have ended, and outlive those of the handler", () =>
      Effect.gen(function*() {
        const journal = makeJournal()
        const goOn = Latch.makeUnsafe()
        const port = yield* serveBy(
          Effect.gen(function*() {
            yield* journal.acquire("handler's")
            yield* idle
            journal.lines.push("the connection has ended")
            yield* goOn.await
          }),
          { decide: () => Effect.as(journal.acquire("decide's"), Handshake.accept()), keepalive: false }
        )
        const peer = yield* rawHandshake(port)
        yield* journal.until("acquire handler's")
        peer.socket.destroy()
        yield* journal.until("the connection has ended")
        assert.notInclude(journal.lines, "release decide's")
        goOn.openUnsafe()
        yield* journal.until("release decide's")
        assert.deepStrictEqual(journal.lines, [
          "acquire decide's",
          "acquire handler's",
          "the connection has ended",
          "release handler's",
          "release decide's"
        ])
      }))

    it.live("get the exit of the handler", () =>
      Effect.gen(function*() {
        const exit = yield* Deferred.make<Exit.Exit<unknown, unknown>>()
        const port = yield* serveBy(Effect.die("lost"), {
          decide: () => Effect.as(Effect.addFinalizer((ended) => Deferred.succeed(exit, ended)), Handshake.accept())
        })
        yield* connect(`ws://127.0.0.1:${port}`)
        assert.deepStrictEqual(yield* Deferred.await(exit), Exit.die("lost"))
      }))

    const rejections: Record<string, readonly [number, Effect.Effect<Handshake.Decision, Handshake.Reject>]> = {
      "a rejection": [401, Effect.succeed(Handshake.reject({ status: 401 }))],
      "a failure": [403, Effect.fail(Handshake.reject({ status: 403 }))],
      "a defect": [500, Effect.die("lost")],
      "an invalid decision": [500, Effect.succeed(Handshake.accept({ protocol: "not offered" }))],
      "handshakeTimeout": [503, Effect.never]
    }
    for (const [name, [status, decision]] of Object.entries(rejections)) {
      it.effect(`close after ${name}, and do not delay the response`, () =>
        Effect.gen(function*() {
          const journal = makeJournal()
          const goOn = Latch.makeUnsafe()
          const port = yield* serveBy(idle, {
            decide: () => Effect.andThen(journal.acquire("decide's", goOn.await), decision)
          })
          const peer = yield* rawConnect(port)
          peer.write(requestText())
          yield* journal.until("acquire decide's")
          if (decision === Effect.never) yield* TestClock.adjust("10 seconds")
          assert.strictEqual(statusOf(yield* peer.ended), status)
          assert.deepStrictEqual(journal.lines, ["acquire decide's"])
          goOn.openUnsafe()
          yield* journal.until("release decide's")
        }))
    }

    it.live("close when the client is reset during the decision", () =>
      Effect.gen(function*() {
        const journal = makeJournal()
        const port = yield* serveBy(idle, {
          decide: () => Effect.andThen(journal.acquire("decide's"), Effect.never)
        })
        const peer = yield* rawConnect(port)
        peer.write(requestText())
        yield* journal.until("acquire decide's")
        peer.socket.resetAndDestroy()
        yield* journal.until("release decide's")
      }))

    it.live("keep a rejected request counted toward maxConnections until they are released", () =>
      Effect.gen(function*() {
        const journal = makeJournal()
        const goOn = Latch.makeUnsafe()
        const port = yield* serveBy(idle, {
          decide: () => Effect.as(journal.acquire("decide's", goOn.await), Handshake.reject({ status: 401 })),
          maxConnections: 1
        })
        const ask = Effect.scoped(Effect.gen(function*() {
          const peer = yield* rawConnect(port)
          peer.write(requestText())
          return statusOf(yield* peer.ended)
        }))
        assert.strictEqual(yield* ask, 401)
        assert.strictEqual(yield* ask, 503)
        goOn.openUnsafe()
        yield* journal.until("release decide's")
        yield* Effect.repeat(ask, { until: (status) => status === 401 })
      }))

    it.live("close before the server has stopped", () =>
      Effect.gen(function*() {
        const journal = makeJournal()
        const scope = yield* Scope.make()
        const port = yield* Scope.provide(
          serveBy(idle, { decide: () => Effect.as(journal.acquire("decide's", Effect.yieldNow), Handshake.accept()) }),
          scope
        )
        yield* connect(`ws://127.0.0.1:${port}`)
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(journal.lines, ["acquire decide's", "release decide's"])
      }))

    it.live("can include a connection to another server, which forwards its rejection to the client", () =>
      Effect.gen(function*() {
        class Upstream extends Context.Service<Upstream, Connection.Connection>()("test/Upstream") {}
        const ended = yield* Deferred.make<number>()
        const behind = yield* serve(
          Effect.gen(function*() {
            const connection = yield* Connection.Connection
            yield* Stream.runForEach(
              connection.messages,
              (message) => connection.send(`you said ${contentOf(message)}`)
            )
            yield* Deferred.succeed(ended, (yield* connection.closed).code)
          }),
          {
            serve: {
              decide: ({ query }) =>
                Effect.succeed(query.has("no") ? Handshake.reject({ status: 402 }) : Handshake.accept())
            }
          }
        )
        const port = yield* serveBy(
          Effect.gen(function*() {
            const connection = yield* Connection.Connection
            const upstream = yield* Upstream
            yield* Effect.raceFirst(
              Stream.runForEach(connection.messages, upstream.send),
              Stream.runForEach(upstream.messages, connection.send)
            )
          }) as Effect.Effect<void, unknown, Connection.Connection>,
          {
            decide: ({ query }) =>
              connect(`${behind.url}/?${query}`).pipe(
                Effect.map((upstream) => Handshake.accept({ services: Context.make(Upstream, upstream) as any })),
                Effect.catchTag("HandshakeRejected", ({ status }) => Effect.succeed(Handshake.reject({ status }))),
                Effect.orDie
              )
          }
        )
        const client = yield* connect(`ws://127.0.0.1:${port}`)
        for (const word of ["one", "two"]) {
          yield* client.send(word)
          assert.strictEqual(contentOf(yield* client.receive), `you said ${word}`)
        }
        yield* client.close()
        assert.strictEqual(yield* Deferred.await(ended), 1000)
        const error = yield* Effect.flip(connect(`ws://127.0.0.1:${port}/?no`))
        assert.deepInclude(error, { _tag: "HandshakeRejected", status: 402 })
      }))
  })
}

class Resource extends Context.Service<Resource, { readonly isOpen: () => boolean }>()("test/Resource") {}

/** A resource that tells whether it is open. */
const makeResource = () => {
  let open = 0
  const acquire = Effect.acquireRelease(
    Effect.sync(() => {
      open++
      return { isOpen: () => open > 0 }
    }),
    () => Effect.sync(() => void open--)
  )
  return { acquire, isOpen: () => open > 0 }
}

/** A handler that replies to each message whether its resource is open. */
const inspecting = Effect.gen(function*() {
  const connection = yield* Connection.Connection
  const resource = yield* Resource
  yield* Stream.runForEach(connection.messages, () => connection.send(resource.isOpen() ? "open" : "released"))
})

describe("resources of a route's middleware", () => {
  const applications: Record<
    string,
    (
      acquire: Effect.Effect<Resource["Service"], never, Scope.Scope>,
      status: (status: number) => void
    ) => ReturnType<typeof application>
  > = {
    "as middleware of a route": (acquire, status) =>
      application(Layer.merge(
        HttpRouter.add("GET", "/", WebSocketServer.upgrade(inspecting)).pipe(
          Layer.provide(
            HttpRouter.middleware<{ provides: Resource }>()(
              Effect.succeed((route) => Effect.provideServiceEffect(route, Resource, acquire))
            ).layer
          )
        ),
        observe(status)
      )),
    "around a whole application": (acquire, status) =>
      serveApplication(HttpServer.serve(
        WebSocketServer.upgrade(inspecting),
        (app) =>
          Effect.provideServiceEffect(
            Effect.tap(app, (response) => Effect.sync(() => status(response.status))),
            Resource,
            acquire
          )
      ))
  }
  const observe = (status: (status: number) => void) =>
    HttpRouter.middleware(
      (route) => Effect.tap(route, (response) => Effect.sync(() => status(response.status))),
      { global: true }
    )

  for (const [name, serveApp] of Object.entries(applications)) {
    it.live(`live until the connection has ended, although the application has logged the 101: ${name}`, () =>
      Effect.gen(function*() {
        const resource = makeResource()
        const seen: Array<number> = []
        const { url } = yield* serveApp(resource.acquire, (status) => void seen.push(status))
        const client = yield* connect(url)
        yield* eventually(() => seen.length > 0)
        assert.deepStrictEqual(seen, [101])
        for (let i = 0; i < 3; i++) {
          yield* client.send("?")
          assert.strictEqual(contentOf(yield* client.receive), "open")
        }
        yield* client.close()
        yield* eventually(() => !resource.isOpen())
      }))

    it.live(`close before the application's server has closed: ${name}`, () =>
      Effect.gen(function*() {
        const resource = makeResource()
        const app = yield* serveApp(resource.acquire, () => {})
        yield* connect(app.url)
        yield* app.close
        assert.isFalse(resource.isOpen())
      }))

    it.live(`close with the response to an invalid handshake: ${name}`, () =>
      Effect.gen(function*() {
        const resource = makeResource()
        const { url } = yield* serveApp(resource.acquire, () => {})
        const response = yield* Effect.promise(() => fetch(url.replace("ws", "http")))
        assert.strictEqual(response.status, 426)
        yield* eventually(() => !resource.isOpen())
      }))
  }

  it.live("outlive the resources of decide", () =>
    Effect.gen(function*() {
      const journal = makeJournal()
      const middleware = HttpRouter.middleware((route) => Effect.andThen(journal.acquire("middleware's"), route))
      const { url } = yield* application(
        HttpRouter.add(
          "GET",
          "/",
          WebSocketServer.upgrade(idle, { decide: () => Effect.as(journal.acquire("decide's"), Handshake.accept()) })
        ).pipe(Layer.provide(middleware.layer))
      )
      const client = yield* connect(url)
      yield* client.close()
      yield* journal.until("release middleware's")
      assert.deepStrictEqual(journal.lines, [
        "acquire middleware's",
        "acquire decide's",
        "release decide's",
        "release middleware's"
      ])
    }))

  it.live("close if the handler ends before the application has the response", () =>
    Effect.gen(function*() {
      const journal = makeJournal()
      const middleware = HttpRouter.middleware((route) =>
        journal.acquire("middleware's").pipe(
          Effect.andThen(route),
          Effect.tap(() => journal.until("handler is over"))
        )
      )
      const handler = Effect.ensuring(Effect.void, Effect.sync(() => void journal.lines.push("handler is over")))
      const { url } = yield* application(
        HttpRouter.add("GET", "/", WebSocketServer.upgrade(handler)).pipe(Layer.provide(middleware.layer))
      )
      const client = yield* connect(url)
      yield* client.closed
      yield* journal.until("release middleware's")
    }))

  it.live("live as long as the connection even if the middleware fails after the 101", () =>
    Effect.gen(function*() {
      const resource = makeResource()
      const middleware = HttpRouter.middleware<{ provides: Resource }>()(
        Effect.succeed((route) =>
          Effect.andThen(Effect.provideServiceEffect(route, Resource, resource.acquire), Effect.die("too late"))
        )
      )
      const { url } = yield* application(
        HttpRouter.add("GET", "/", WebSocketServer.upgrade(inspecting)).pipe(Layer.provide(middleware.layer))
      )
      const client = yield* connect(url)
      yield* client.send("?")
      assert.strictEqual(contentOf(yield* client.receive), "open")
      yield* client.close()
      yield* eventually(() => !resource.isOpen())
    }))

  it.live("differ from those in the Scope of the application, which a route may have in its context", () =>
    Effect.gen(function*() {
      const journal = makeJournal()
      const routes = HttpRouter.use((router) =>
        Effect.gen(function*() {
          yield* journal.acquire("application's")
          const scope = yield* Effect.scope
          yield* router.add("GET", "/", Scope.provide(WebSocketServer.upgrade(idle), scope))
        })
      )
      const { url } = yield* application(routes)
      const client = yield* connect(url)
      yield* client.close()
      yield* (yield* connect(url)).close()
      assert.deepStrictEqual(journal.lines, ["acquire application's"])
    }))
})

/** Operations after which a handler has used its connection. */
const uses: Record<string, (connection: Connection.Connection) => Effect.Effect<unknown, unknown>> = {
  "receives": (connection) => connection.receive,
  "reads messages": (connection) => Stream.runDrain(connection.messages),
  "reads frames": (connection) => Stream.runDrain(connection.frames),
  "waits for closed": (connection) => connection.closed,
  "discards": (connection) => connection.discard,
  "closes": (connection) => connection.close(),
  "pings": (connection) => Effect.forever(connection.ping()),
  "waits with send for room": (connection) => Effect.forever(connection.send("x".repeat(1 << 20)))
}

const ends: Record<string, (peer: Effect.Success<ReturnType<typeof rawHandshake>>) => void> = {
  "closes it": (peer) => peer.send(Frame.close(1000)),
  "ends its side": (peer) => void peer.socket.end(),
  "is reset": (peer) => void peer.socket.resetAndDestroy()
}

for (const [way, serveBy] of Object.entries(ways)) {
  describe(`${way}: a handler`, () => {
    for (const [how, end] of Object.entries(ends)) {
      it.effect(`ends immediately when the client ${how}, if it has read nothing`, () =>
        Effect.gen(function*() {
          const journal = makeJournal()
          const port = yield* serveBy(
            Effect.gen(function*() {
              yield* journal.acquire("a place in the room")
              yield* (yield* Connection.Connection).send("snapshot")
              return yield* Effect.never
            }),
            { keepalive: false }
          )
          const peer = yield* rawHandshake(port)
          yield* peer.untilFrames(1)
          end(peer)
          yield* journal.until("release a place in the room")
        }))
    }

    it.effect("does not delay the end of the server if it never ends", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const port = yield* Scope.provide(serveBy(Effect.never), scope)
        const peer = yield* rawHandshake(port)
        const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
        yield* peer.untilFrames(1)
        peer.send(Frame.close(1001))
        yield* peer.ended
        peer.socket.end()
        yield* Fiber.join(closing)
      }))

    it.effect("receives all messages that arrived before the end, even if it starts to read late", () =>
      Effect.gen(function*() {
        const begin = Latch.makeUnsafe()
        const ended = yield* Deferred.make<void>()
        const received = yield* Deferred.make<ReadonlyArray<string | Array<number>>>()
        const port = yield* serveBy(Effect.gen(function*() {
          const connection = yield* Connection.Connection
          yield* begin.await
          const all = yield* Stream.runCollect(Stream.map(connection.messages, contentOf))
          yield* Deferred.succeed(received, all)
        }))
        const peer = yield* rawHandshake(port)
        peer.send(Frame.text("one"), Frame.text("two"), Frame.close(1000))
        yield* Effect.forkChild(Effect.andThen(peer.ended, Deferred.succeed(ended, undefined)))
        yield* Deferred.await(ended)
        begin.openUnsafe()
        assert.deepStrictEqual(yield* Deferred.await(received), ["one", "two"])
      }))
  })
}

describe("a handler", () => {
  for (const [name, use] of Object.entries(uses)) {
    it.effect(`observes the end of its connection and can finish its work: it ${name}`, () =>
      Effect.gen(function*() {
        const told = yield* Deferred.make<void>()
        const begin = Latch.makeUnsafe()
        const goOn = Latch.makeUnsafe()
        const exits = yield* Deferred.make<Exit.Exit<unknown, unknown>>()
        const server = yield* serve(
          Effect.gen(function*() {
            const connection = yield* Connection.Connection
            yield* connection.send("ready")
            yield* begin.await
            yield* Effect.exit(use(connection))
            yield* Deferred.succeed(told, undefined)
            yield* goOn.await
          }).pipe(Effect.onExit((exit) => Deferred.succeed(exits, exit))),
          { serve: { keepalive: false } }
        )
        const peer = yield* rawHandshake(server.port)
        yield* peer.untilFrames(1)
        peer.socket.pause()
        begin.openUnsafe()
        for (let i = 0; i < 5; i++) yield* turn
        peer.socket.resetAndDestroy()
        yield* Deferred.await(told)
        for (let i = 0; i < 5; i++) yield* turn
        yield* TestClock.adjust("29 seconds")
        goOn.openUnsafe()
        assert.isTrue(Exit.isSuccess(yield* Deferred.await(exits)))
      }))
  }

  const unfinished = (handlerTimeout?: Duration.Input) =>
    Effect.gen(function*() {
      const taken: Array<string | Array<number>> = []
      const exits = yield* Deferred.make<Exit.Exit<unknown, unknown>>()
      const server = yield* serve(
        Effect.gen(function*() {
          const { receive } = yield* Connection.Connection
          while (true) {
            taken.push(contentOf(yield* receive))
            yield* taken.length < 3 ? Effect.sleep("20 seconds") : Effect.never
          }
        }).pipe(Effect.onExit((exit) => Deferred.succeed(exits, exit))),
        { serve: { keepalive: false, handlerTimeout } }
      )
      const peer = yield* rawHandshake(server.port)
      peer.send(Frame.text("one"), Frame.text("two"), Frame.text("three"), Frame.close(1000))
      yield* peer.ended
      yield* eventually(() => peer.socket.readableEnded)
      peer.socket.end()
      for (let i = 0; i < 5; i++) yield* turn
      return { taken, exits }
    })

  it.effect("keeps handlerTimeout from the last message that it reads", () =>
    Effect.gen(function*() {
      const { exits, taken } = yield* unfinished("25 seconds")
      yield* TestClock.adjust("20 seconds")
      yield* TestClock.adjust("20 seconds")
      assert.deepStrictEqual(taken, ["one", "two", "three"])
      yield* TestClock.adjust("9 seconds")
      assert.isFalse(yield* Deferred.isDone(exits))
      yield* TestClock.adjust("26 seconds")
      assert.isTrue(Exit.hasInterrupts(yield* Deferred.await(exits)))
    }))

  it.effect("ends with its connection if handlerTimeout is 0, even if it has read", () =>
    Effect.gen(function*() {
      const { exits } = yield* unfinished(0)
      assert.isTrue(Exit.hasInterrupts(yield* Deferred.await(exits)))
    }))

  it.effect("does not delay the end of a test in memory if it never ends", () =>
    Effect.gen(function*() {
      const journal = makeJournal()
      const handler = Effect.andThen(journal.acquire("its own"), Effect.never)
      yield* Effect.scoped(Effect.andThen(connect("ws://in.memory"), journal.until("acquire its own"))).pipe(
        Effect.andThen(journal.until("release its own")),
        Effect.andThen(Effect.asVoid(connect("ws://in.memory"))),
        Effect.provide(WebSocketServer.serve(handler).pipe(Layer.provideMerge(Testing.layer())))
      )
      assert.strictEqual(journal.lines.filter((line) => line === "release its own").length, 2)
    }))

  it.effect("ends immediately if its client was reset during the start of extensions", () =>
    Effect.gen(function*() {
      const goOn = Latch.makeUnsafe()
      const journal = makeJournal()
      const slow: Extension.Extension = {
        name: "x-slow",
        reservedBits: 0,
        offers: [],
        accept: (parameters) => ({
          parameters,
          open: Effect.as(goOn.await, { encode: (frame) => frame, decode: (frame) => frame })
        }),
        confirm: () => "unused"
      }
      const server = yield* serve(Effect.andThen(journal.acquire("its own"), Effect.never), {
        serve: { extensions: [slow], keepalive: false }
      })
      const peer = yield* rawHandshake(server.port, { "Sec-WebSocket-Extensions": "x-slow" })
      peer.socket.resetAndDestroy()
      for (let i = 0; i < 20; i++) yield* turn
      goOn.openUnsafe()
      yield* journal.until("release its own")
    }))
})
