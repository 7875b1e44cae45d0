/** What a page has to load, gzipped, beside other libraries; and that it needs nothing of Node. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { bundle } from "../support/bundle.ts"

const page = (imports: string, program: string) =>
  `import * as Effect from "effect/Effect"; import * as Stream from "effect/Stream"; ${imports}
   Effect.runFork(Effect.scoped(${program}))`

const client = `import { connect, reconnecting } from "effect-ws/BrowserClient"`
const echo = `(connection) => Stream.runForEach(connection.messages, connection.send)`

/** A page for each use, and the size in bytes that it had. A page may grow by three percent before this list has to change. */
const pages: Record<string, readonly [page: string, size: number]> = {
  "Effect alone": [page("", `Stream.runForEach(Stream.make("a"), Effect.log)`), 15_400],
  "connect": [page(client, `Effect.flatMap(connect("/feed"), ${echo})`), 25_000],
  "reconnecting": [page(client, `Effect.flatMap(reconnecting("/feed"), ${echo})`), 41_600],
  "reconnecting and typed": [
    page(
      `${client}; import * as Schema from "effect/Schema"; import { makeReconnecting } from "effect-ws/TypedConnection"`,
      `Effect.flatMap(reconnecting("/feed"), (client) =>
         (${echo})(makeReconnecting(client, { receives: Schema.String, sends: Schema.String })))`
    ),
    57_500
  ],
  "topics": [
    page(
      `${client}; import * as Schema from "effect/Schema"; import * as Topic from "effect-ws/Topic"
       import * as TopicClient from "effect-ws/TopicClient"`,
      `Effect.flatMap(TopicClient.make(() => connect("/topics")), (client) => Stream.runForEach(
         client.subscribe(Topic.make("room::name", { message: Schema.String }), { name: "a" }), Effect.log))`
    ),
    65_100
  ]
}

const others: Record<string, string> = {
  "Effect's own Socket": page(
    `import * as Socket from "effect/socket/Socket"`,
    `Effect.flatMap(Socket.makeWebSocket("ws://there/"), (socket) => Effect.flatMap(
       Effect.all([socket.reader, socket.writer]), ([{ pull }, { writeAll }]) => Effect.forever(Effect.flatMap(pull, writeAll)))
     ).pipe(Effect.provide(Socket.layerWebSocketConstructorGlobal))`
  ),
  "partysocket":
    `import { WebSocket } from "partysocket"; const s = new WebSocket("ws://there/"); s.onmessage = (e) => s.send(e.data)`,
  "socket.io-client":
    `import { io } from "socket.io-client"; const s = io("http://there/"); s.on("a", (data) => s.emit("a", data))`,
  "centrifuge": `import { Centrifuge } from "centrifuge"; new Centrifuge("ws://there/").connect()`
}

const kilobytes = (bytes: number) => `${(bytes / 1000).toFixed(1)} KB`.padStart(8)

describe("a bundle for browsers", () => {
  for (const [name, [contents, size]] of Object.entries(pages)) {
    it.live(`has at most three percent more than ${size} bytes for a page with ${name}`, () =>
      Effect.gen(function*() {
        const { gzip } = yield* bundle({ contents })
        console.log(`${kilobytes(gzip)}  ${name}`)
        assert.isAtMost(gzip, size * 1.03)
      }))
  }

  it.live("prints the size of other libraries for comparison", () =>
    Effect.forEach(
      Object.entries(others),
      ([name, contents]) => Effect.map(bundle({ contents }), ({ gzip }) => console.log(`${kilobytes(gzip)}  ${name}`))
    ))

  const portable = [
    "BrowserClient",
    "MessageClient",
    "MessageConnection",
    "Reconnecting",
    "TypedConnection",
    "Wake",
    "Heartbeat",
    "Resume",
    "Socket",
    "Topic",
    "TopicError",
    "TopicClient"
  ]
  for (const name of portable) {
    it.live(`needs no module of Node for effect-ws/${name}`, () =>
      Effect.gen(function*() {
        const { inputs } = yield* bundle({ contents: `export * from "effect-ws/${name}"` })
        assert.deepStrictEqual(Object.keys(inputs).filter((input) => /^node:|platform\/node/.test(input)), [])
      }))
  }

  it.live("fails if it would need a module of Node", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(bundle({ contents: `export * from "effect-ws/WebSocketClient"` }))
      assert.include(String(exit), "node:")
    }))

  it.live("without schemas holds no Schema of Effect", () =>
    Effect.gen(function*() {
      const { inputs } = yield* bundle({ contents: pages["reconnecting"][0] }, { minify: false })
      assert.deepStrictEqual(
        Object.keys(inputs).filter((input) => /effect-ws.*TypedConnection|dist\/Schema\.js/.test(input)),
        []
      )
    }))
})
