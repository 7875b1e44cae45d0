/** The examples, built, as a user would run them. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope, Stream } from "effect"
import { Connection, Frame, Handshake, type HandshakeError, Message, WebSocketClient } from "effect-ws"
import { http2Client } from "../support/http2Client.ts"
import { contentOf } from "../support/memory.ts"
import { serve } from "../support/net.ts"
import { runExample, startServer } from "../support/process.ts"

describe("echo-server", () => {
  for (const MODE of ["stream", "batch", "frames"]) {
    it.live(`MODE=${MODE} echoes text, binary and fragmented messages`, () =>
      Effect.gen(function*() {
        const { url } = yield* startServer("echo-server.js", { MODE })
        const connection = yield* WebSocketClient.connect(url)
        yield* connection.sendAll(["one", Uint8Array.of(1, 2, 3), "x".repeat(100_000)])
        assert.strictEqual(contentOf(yield* connection.receive), "one")
        assert.deepStrictEqual(contentOf(yield* connection.receive), [1, 2, 3])
        assert.strictEqual((yield* connection.receive).bytes.length, 100_000)
        yield* connection.sendFragments(Stream.make("a", "b"))
        assert.strictEqual(contentOf(yield* connection.receive), "ab")
        assert.isTrue((yield* connection.close()).clean)
      }))
  }

  for (const environment of [{ HTTP2: "1" }, { HTTP2: "1", TLS: "1" }] as const) {
    it.live(`${Object.keys(environment).join("=1 ")}=1 echoes over HTTP/2, and over HTTP/1.1 on the same port`, () =>
      Effect.gen(function*() {
        const { port } = yield* startServer("echo-server.js", environment)
        const secure = "TLS" in environment
        const client = yield* http2Client(`${secure ? "https" : "http"}://127.0.0.1:${port}`, {
          rejectUnauthorized: false
        } as object)
        const url = `${secure ? "wss" : "ws"}://127.0.0.1:${port}`
        const http1 = yield* WebSocketClient.connect(url, { tls: { rejectUnauthorized: false } })
        for (const connection of [yield* client.open(), http1]) {
          yield* connection.send("hello")
          assert.strictEqual(contentOf(yield* connection.receive), "hello")
        }
      }))
  }

  it.live("MODE=frames keeps the fragmentation of messages", () =>
    Effect.gen(function*() {
      const { url } = yield* startServer("echo-server.js", { MODE: "frames" })
      const connection = yield* WebSocketClient.connect(url)
      yield* connection.sendFrame(Frame.text("a", { fin: false }))
      yield* connection.sendFrame(Frame.continuation("b"))
      const frames = yield* connection.frames.pipe(Stream.take(2), Stream.runCollect)
      assert.deepStrictEqual(frames.map((frame) => [frame.opcode, frame.fin]), [[1, false], [0, true]])
    }))

  it.live("closes with 1001 on SIGTERM", () =>
    Effect.gen(function*() {
      const { child, ended, url } = yield* startServer("echo-server.js")
      const connection = yield* WebSocketClient.connect(url)
      child.kill("SIGTERM")
      const end = yield* connection.closed
      assert.deepStrictEqual([end.code, end.clean], [1001, true])
      yield* ended
    }))
})

describe("echo-client", () => {
  it.live("prints the replies", () =>
    Effect.gen(function*() {
      const server = yield* startServer("echo-server.js")
      const client = yield* runExample("echo-client.js", { URL: server.url }, "alpha", "beta")
      assert.strictEqual(yield* client.ended, 0)
      const lines = client.output().trim().split("\n")
      assert.match(lines[0], /^connected to ws:\/\/127\.0\.0\.1:\d+, a round trip takes [\d.]+ ms$/)
      assert.deepStrictEqual(lines.slice(1), [
        "alpha",
        "beta",
        "the connection was closed by this end with 1000 (NormalClosure)"
      ])
    }))

  it.live("prints the reason if no server listens", () =>
    Effect.gen(function*() {
      const client = yield* runExample("echo-client.js", { URL: "ws://127.0.0.1:1" })
      yield* client.ended
      assert.match(client.output(), /could not connect to ws:\/\/127\.0\.0\.1:1\/.*is an echo server running\?/)
    }))
})

describe("checksum-extension", () => {
  it.live("negotiates an algorithm that both ends support, and detects damaged data", () =>
    Effect.gen(function*() {
      const program = yield* runExample("checksum-extension.js", {})
      assert.strictEqual(yield* program.ended, 0)
      assert.deepStrictEqual(program.output().trim().split("\n"), [
        "offered: x-checksum; algorithm=sha256, x-checksum; algorithm=crc32",
        "agreed on: x-checksum; algorithm=crc32",
        // Two bytes of header, four of mask, five of payload, four of checksum.
        "came back: hello, for 15 bytes",
        "damaged: the connection was closed by the peer with 1007 (InvalidPayloadData), \"InvalidExtensionData\""
      ])
    }))
})

describe("reconnecting-client", () => {
  it.live("sends queued messages once the server is back", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const first = yield* Scope.provide(startServer("echo-server.js"), scope)
      const client = yield* runExample("reconnecting-client.js", { URL: first.url })
      yield* client.printed(/connected to .*\n(?:.*\n)*hello, it is me\n/)
      client.child.stdin.write("one\n")
      yield* client.printed(/^one$/m)
      yield* Scope.close(scope, Exit.void)
      yield* client.printed(/could not connect.*ECONNREFUSED/)
      client.child.stdin.write("two\n")
      yield* startServer("echo-server.js", { PORT: String(first.port) })
      yield* client.printed(/^two$/m)
      assert.strictEqual(client.output().match(/^hello, it is me$/gm)?.length, 2)
      client.child.kill("SIGTERM")
      yield* client.ended
    }))

  it.live("stops if the server rejects the handshake", () =>
    Effect.gen(function*() {
      const server = yield* startServer("subprotocol-auth.js")
      const client = yield* runExample("reconnecting-client.js", { URL: server.url })
      yield* client.printed(/the server will not have us: 401/)
      client.child.stdin.end()
      yield* client.ended
    }))
})

describe("raw-frames", () => {
  it.live("prints the frames of an echo server", () =>
    Effect.gen(function*() {
      const server = yield* startServer("echo-server.js", { MODE: "frames" })
      const client = yield* runExample("raw-frames.js", { PORT: String(server.port) })
      assert.strictEqual(yield* client.ended, 0)
      const lines = client.output().trim().split("\n")
      assert.deepStrictEqual(lines.filter((line) => !/^(pong|close)/.test(line)), [
        "text, more to come: \"three \"",
        "continuation, more to come: \"fragments, \"",
        "continuation: \"one message\""
      ])
      assert.include(lines, "pong: \"still there?\"")
    }))
})

describe("autobahn-client", () => {
  it.live("runs the requested cases, and echoes in each", () =>
    Effect.gen(function*() {
      const ran: Array<string> = []
      const server = yield* serve(Effect.gen(function*() {
        const connection = yield* Connection.Connection
        const { path, query } = connection.request
        ran.push(path + (query.get("case") ?? ""))
        if (path === "/getCaseCount") yield* connection.send("5")
        if (path === "/runCase" && query.get("case") === "2") {
          yield* connection.sendFrame(Frame.continuation("out of order")).pipe(Effect.ignore)
          yield* connection.send("echo this")
          assert.strictEqual(contentOf(yield* connection.receive), "echo this")
        }
      }))
      const client = yield* runExample("autobahn-client.js", { URL: server.url, CASES: "1-2,5" })
      assert.strictEqual(yield* client.ended, 0)
      assert.deepStrictEqual(ran, ["/getCaseCount", "/runCase1", "/runCase2", "/runCase5", "/updateReports"])
      const all = yield* runExample("autobahn-client.js", { URL: server.url })
      yield* all.ended
      assert.strictEqual(ran.filter((path) => path.startsWith("/runCase")).length, 3 + 5)
    }))
})

describe("gateway", () => {
  const startUpstream = serve(
    Effect.gen(function*() {
      const connection = yield* Connection.Connection
      const { headers, path, query } = connection.request
      yield* connection.send(`${path} ${query} ${headers["authorization"]} ${headers["x-forwarded-for"]}`)
      yield* Stream.runForEach(
        connection.messages,
        (message) =>
          Message.toText(message) === "terminate" ? Effect.asVoid(connection.terminate) : connection.send(message)
      )
    }),
    {
      serve: {
        protocols: ["v2"],
        decide: ({ path }) =>
          path === "/closed"
            ? Effect.fail(Handshake.reject({ status: 403, body: "not today\n" }))
            : Effect.succeed(Handshake.accept())
      }
    }
  )
  const startGateway = Effect.gen(function*() {
    const upstream = yield* startUpstream
    return yield* startServer("gateway.js", { UPSTREAM: `ws://127.0.0.1:${upstream.port}` })
  })

  it.live("connects upstream with the client's path, headers and subprotocols, and relays to the end", () =>
    Effect.gen(function*() {
      const gateway = yield* startGateway
      const connection = yield* WebSocketClient.connect(`${gateway.url}/room?name=Ada`, {
        protocols: ["v3", "v2"],
        headers: { Authorization: "Bearer abc" }
      })
      assert.strictEqual(connection.subprotocol, "v2")
      assert.strictEqual(contentOf(yield* connection.receive), "/room name=Ada Bearer abc 127.0.0.1")
      yield* connection.sendFragments(Stream.make("a", "b"))
      yield* connection.send(new Uint8Array(1_000_000))
      assert.strictEqual(contentOf(yield* connection.receive), "ab")
      assert.strictEqual((yield* connection.receive).bytes.length, 1_000_000)
      assert.isTrue((yield* connection.close(4001, "bye")).clean)
      yield* gateway.printed(/client: the connection was closed by the peer with 4001 \(Application\), "bye"\n/)
    }))

  it.live("rejects with the status and the body of upstream", () =>
    Effect.gen(function*() {
      const gateway = yield* startGateway
      const rejected = yield* Effect.flip(WebSocketClient.connect(`${gateway.url}/closed`))
      assert.deepInclude(rejected, { _tag: "HandshakeRejected", status: 403, body: "not today\n" })
    }))

  it.live("rejects with 502 if there is no upstream", () =>
    Effect.gen(function*() {
      const alone = yield* startServer("gateway.js", { UPSTREAM: "ws://127.0.0.1:1" })
      const lost = yield* Effect.flip(WebSocketClient.connect(alone.url))
      assert.deepInclude(lost, { _tag: "HandshakeRejected", status: 502 })
    }))

  it.live("closes the client with 1014 if upstream is lost", () =>
    Effect.gen(function*() {
      const gateway = yield* startGateway
      const connection = yield* WebSocketClient.connect(gateway.url)
      yield* connection.receive
      yield* connection.send("terminate")
      const { closedBy, code, reason } = yield* connection.closed
      assert.deepStrictEqual([closedBy, code, reason], ["remote", 1014, "upstream is lost"])
    }))
})

describe("subprotocol-auth", () => {
  it.live("accepts clients with a token, and rejects others with 401", () =>
    Effect.gen(function*() {
      const { url } = yield* startServer("subprotocol-auth.js", { TOKENS: "abc:Ada,def:Grace" })
      const connect = (token: string, protocol: string) =>
        WebSocketClient.connect(url, { headers: { Authorization: `Bearer ${token}` }, protocols: [protocol] })
      const grace = yield* connect("def", "shout")
      assert.strictEqual(contentOf(yield* grace.receive), "welcome, Grace")
      yield* grace.send("quiet")
      assert.strictEqual(contentOf(yield* grace.receive), "QUIET")
      const ada = yield* connect("abc", "whisper")
      yield* ada.receive
      yield* ada.send("quiet")
      assert.strictEqual(contentOf(yield* ada.receive), "quiet")
      const refusals = yield* Effect.all([connect("nope", "shout"), WebSocketClient.connect(url)].map(Effect.flip))
      for (const error of refusals) {
        const { body, headers, status } = error as HandshakeError.HandshakeRejected
        assert.deepStrictEqual([status, headers["www-authenticate"], body], [
          401,
          "Bearer",
          "a valid token is needed\n"
        ])
      }
    }))
})

describe("typed-chat", () => {
  it.live("exchanges typed values, and closes connections that send invalid ones", () =>
    Effect.gen(function*() {
      const chat = yield* runExample("typed-chat.js")
      assert.strictEqual(yield* chat.ended, 0)
      const [before, warning] = chat.output().split(/^(?=\[.*WARN)/m)
      assert.match(warning, /a WebSocket peer sent an invalid message: Expected valid JSON/)
      assert.deepStrictEqual([...before.trim().split("\n"), warning.trim().split("\n").at(-1)], [
        "Ada is here, since object",
        "Ada: hello?",
        "InvalidValue",
        "1007 Expected valid JSON"
      ])
    }))
})

describe("two servers at once", () => {
  it.live("two servers listen, each on its own port", () =>
    Effect.gen(function*() {
      const fibers = yield* Effect.replicateEffect(Effect.forkChild(startServer("echo-server.js")), 2)
      const ports = (yield* Effect.forEach(fibers, Fiber.join)).map((server) => server.port)
      assert.notStrictEqual(ports[0], ports[1])
    }))
})

describe("workers", () => {
  it.live(
    "workers share a port, are replaced after a crash, and close together with 1001",
    () =>
      Effect.gen(function*() {
        const { child, ended, url } = yield* startServer("workers.js", { WORKERS: "2" })
        const connect = Effect.gen(function*() {
          const connection = yield* WebSocketClient.connect(url)
          const welcome = String(contentOf(yield* connection.receive))
          return { connection, pid: Number(/\d+$/.exec(welcome)![0]) }
        })
        /** Connects until it has one to another process. What goes to one that is dead, and not yet known to be, fails. */
        const connectTo = (isWanted: (pid: number) => boolean) =>
          Effect.repeat(Effect.delay(Effect.eventually(connect), 10), { until: ({ pid }) => isWanted(pid) })
        const one = yield* connectTo(() => true)
        const two = yield* connectTo((pid) => pid !== one.pid)
        process.kill(two.pid, "SIGKILL")
        assert.strictEqual((yield* two.connection.closed).cause?._tag, "UnexpectedEof")
        const three = yield* connectTo((pid) => pid !== one.pid && pid !== two.pid)
        yield* one.connection.send("still here")
        assert.strictEqual(contentOf(yield* one.connection.receive), "still here")
        child.kill("SIGTERM")
        for (const { connection } of [one, three]) {
          const { clean, code } = yield* connection.closed
          assert.deepStrictEqual([code, clean], [1001, true])
        }
        yield* ended
      }),
    20_000
  )
})
