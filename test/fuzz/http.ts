/** The opening handshake over HTTP as Node parses it, and what follows it, given bytes. */
import { Context, Effect, Exit, Result, Scope, Stream } from "effect"
import { Connection, ConnectionError, Handshake, WebSocketClient, WebSocketServer } from "effect-ws"
import { strict as assert } from "node:assert"
import type { RequestListener } from "node:http"
import { type Duplex, duplexPair } from "node:stream"
import type { Target } from "./engine.ts"
import { request, requestLines, responseLines, words } from "./headers.ts"
import type { Choices } from "./random.ts"
import { judge } from "./judge.ts"
import { conversation, messagesOf, parse } from "./wire.ts"

const withLines = (lines: ReadonlyArray<string>, rest: Uint8Array): Uint8Array =>
  Buffer.concat([Buffer.from([...lines, "", ""].join("\r\n"), "latin1"), rest])

/** All that comes, until the other side ends or cuts. */
const collect = (duplex: Duplex): Promise<Buffer> =>
  new Promise((resolve) => {
    const chunks: Array<Buffer> = []
    const done = () => resolve(Buffer.concat(chunks))
    duplex.on("data", (chunk: Buffer) => void chunks.push(chunk))
    duplex.on("end", done)
    duplex.on("close", done)
    duplex.on("error", done)
  })

/** Writes an input in one or in two pieces, as its first byte says, and ends. */
const say = (duplex: Duplex, input: Uint8Array): void => {
  const [first = 0, ...rest] = input
  const at = first === 0 ? rest.length : Math.floor(rest.length * first / 256)
  duplex.write(Buffer.from(rest.slice(0, at)))
  duplex.end(Buffer.from(rest.slice(at)))
}

const anyInput = (choices: Choices, lines: ReadonlyArray<string>, rest: Uint8Array): Uint8Array =>
  Buffer.concat([Uint8Array.of(choices.below(256)), withLines(lines, rest)])

let server: WebSocketServer.WebSocketServer

export const upgradeOverHttp: Target = {
  name: "upgrade-http",
  words,
  generate: (choices) =>
    anyInput(choices, requestLines(choices), choices.oneIn(2) ? conversation(choices, "client") : new Uint8Array()),
  start: async () => {
    const scope = Scope.makeUnsafe()
    const onRequest: RequestListener = (_request, response) => response.writeHead(204).end()
    server = await Effect.runPromise(Scope.provide(WebSocketServer.make({ host: "127.0.0.1", onRequest }), scope))
    const echo = Effect.flatMap(
      Effect.service(Connection.Connection),
      (connection) => Effect.ignore(Stream.runForEach(connection.messages, connection.send))
    )
    await Effect.runPromise(Scope.provide(server.serve(echo, { protocols: ["chat"], origin: "any" }), scope))
    return () => Effect.runPromise(Scope.close(scope, Exit.void))
  },
  run: async (input) => {
    const [client, socket] = duplexPair()
    await Effect.runPromise(server.accept(socket))
    const answer = collect(client)
    // A pair does not tell one side that the other was destroyed.
    socket.on("close", () => client.destroy())
    say(client, input)
    const answered = await answer
    client.destroy()
    const owed = judge(Buffer.from(input.subarray(1)).toString("latin1"))
    if (answered.length === 0) {
      assert.equal(owed, undefined, `it owes an answer: ${owed}`)
      return "nothing"
    }
    const interim = "HTTP/1.1 100 Continue\r\n\r\n"
    const bytes = answered.subarray(answered.toString("latin1").startsWith(interim) ? interim.length : 0)
    const text = bytes.toString("latin1")
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1])
    const isRefusal = status >= 400 && status < 600
    assert.ok(status === 101 || status === 204 || isRefusal || bytes.length === 0, `it answers ${text.slice(0, 80)}`)
    if (owed === "handshake") assert.equal(status, 101, "a handshake gets 101")
    if (owed === "ordinary") assert.equal(status, 204, "an ordinary request gets the program's answer")
    if (owed === "refusal") assert.ok(isRefusal, `a refusal, not ${status}`)
    if (status !== 101) return `${owed} ${status}`
    const { frames, rest } = parse(bytes.subarray(text.indexOf("\r\n\r\n") + 4), "server")
    assert.equal(rest.length, 0, "what is written is whole frames")
    messagesOf(frames)
    return `101 ${frames.slice(0, 6).map(({ opcode }) => opcode).join(" ")}`
  }
}

const policy = Context.make(Handshake.HandshakePolicy, Handshake.makePolicy({ makeKey: () => request.key }))

const connectErrors = new Set<string>([
  "ConnectFailed",
  "HandshakeRejected",
  "HandshakeRedirected",
  "UnsupportedHttpVersion",
  "InvalidUpgradeHeader",
  "InvalidConnectionHeader",
  "MissingHeader",
  "InvalidAccept",
  "UnsolicitedProtocol",
  "ExtensionMismatch",
  "UnsolicitedExtension",
  "InvalidExtensionHeader"
])

export const responseOverHttp: Target = {
  name: "client-http",
  words,
  generate: (choices) =>
    anyInput(choices, responseLines(choices), choices.oneIn(2) ? conversation(choices, "server") : new Uint8Array()),
  run: async (input) => {
    const [peer, duplex] = duplexPair()
    peer.on("error", () => {})
    const heard = collect(peer)
    duplex.on("close", () => peer.destroy())
    say(peer, input)
    const connected = await Effect.runPromise(
      Effect.result(
        Effect.scoped(
          Effect.flatMap(
            WebSocketClient.connect("ws://example.com/a", { protocols: request.protocols, duplex }),
            (connection) => Effect.flatMap(Effect.ignore(Stream.runDrain(connection.messages)), () => connection.closed)
          )
        )
      ).pipe(Effect.provideContext(policy))
    )
    if (Result.isFailure(connected)) {
      const { _tag, message } = connected.failure
      assert.ok(connectErrors.has(_tag), `it fails with ${_tag}: ${message}`)
      assert.ok(duplex.destroyed, "no socket is left")
      return _tag
    }
    const end = connected.success
    assert.ok(end instanceof ConnectionError.ConnectionClosed)
    peer.destroy()
    const bytes = await heard
    const { frames } = parse(bytes.subarray(bytes.indexOf("\r\n\r\n") + 4), "client")
    messagesOf(frames)
    return `${end.code} ${end.cause?._tag} ${frames.slice(0, 6).map(({ opcode }) => opcode).join(" ")}`
  }
}
