/** Where a server listens: TCP, Unix sockets, TLS, and other streams. */
import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Exit, Layer, Scope } from "effect"
import { WebSocketServer } from "effect-ws"
import { createPrivateKey } from "node:crypto"
import { mkdtempSync, rmSync } from "node:fs"
import * as Http from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Duplex } from "node:stream"
import { localhostTls } from "../support/certificates.ts"
import { rawConnect, serve } from "../support/net.ts"
import { connect, echo, idle, textOf } from "../support/serving.ts"

describe("TLS", () => {
  it.live("tells a client with an unknown authority or the wrong scheme what to change", () =>
    Effect.gen(function*() {
      const secure = yield* serve(idle, { tls: localhostTls })
      const plain = yield* serve(idle)
      const adviceFor = (url: string) =>
        Effect.map(Effect.flip(connect(url)), ({ message }) => message.slice(message.lastIndexOf("; ") + 2))
      const at = (scheme: string, { port }: { readonly port: number }) => `${scheme}://localhost:${port}/`
      assert.strictEqual(
        yield* adviceFor(at("wss", secure)),
        "if you trust the server's authority, add its certificate to tls.ca"
      )
      assert.strictEqual(yield* adviceFor(at("wss", plain)), "if the server does not use TLS, use a ws:// URL")
      assert.strictEqual(yield* adviceFor(at("ws", secure)), "if the server uses TLS, use a wss:// URL")
    }))
})

describe("listening", () => {
  it.live("sockets have a high-water mark of 64 KiB", () =>
    Effect.gen(function*() {
      const marks: Array<number> = []
      const { port } = yield* serve(idle, {
        onRequest: ({ socket }, response) => {
          marks.push(socket.readableHighWaterMark, socket.writableHighWaterMark)
          response.end()
        }
      })
      yield* Effect.promise(() => fetch(`http://127.0.0.1:${port}/`).then((response) => response.text()))
      assert.deepStrictEqual(marks, [64 * 1024, 64 * 1024])
    }))

  it("ListenFailed says what the system said, and what to do about an address in use", () => {
    const messageOf = (code: string) =>
      new WebSocketServer.ListenFailed({ code, cause: new Error(`listen ${code}: 127.0.0.1:80`) }).message
    assert.strictEqual(messageOf("EACCES"), "the server cannot listen: EACCES: 127.0.0.1:80")
    assert.strictEqual(
      messageOf("EADDRINUSE"),
      "the server cannot listen: EADDRINUSE: 127.0.0.1:80; stop the process that listens there, or change the port"
    )
  })

  it.live("fails with ListenFailed for a port in use, and with InvalidOption for an invalid port", () =>
    Effect.gen(function*() {
      const server = yield* serve(idle)
      const error = yield* Effect.flip(WebSocketServer.make({ host: "127.0.0.1", port: server.port }))
      assert.deepInclude(error, { _tag: "ListenFailed", code: "EADDRINUSE" })
      assert.match(error.message, /EADDRINUSE.*; stop the process that listens there, or change the port$/)
      const noPort = yield* Effect.flip(WebSocketServer.make({ port: 70_000 }))
      assert.deepInclude(noPort, { _tag: "InvalidOption", option: "port" })
    }))

  it.live("listens on all addresses by default, before serve", () =>
    Effect.gen(function*() {
      const server = yield* WebSocketServer.make({ backlog: 10 })
      assert.match(server.url, /^ws:\/\/localhost:\d+$/)
      assert.deepStrictEqual(yield* server.connections, [])
    }))

  it.live("listens on a Unix socket", () =>
    Effect.gen(function*() {
      const directory = mkdtempSync(join(tmpdir(), "effect-ws-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(directory, { recursive: true })))
      const socketPath = join(directory, "socket")
      const server = yield* serve(echo, { socketPath })
      assert.deepStrictEqual(server.address, { _tag: "Unix", path: socketPath })
      const connection = yield* connect(server.url, { socketPath })
      yield* connection.send("over a file")
      assert.strictEqual(textOf(yield* connection.receive), "over a file")
    }))

  it.live("listens with TLS", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { tls: localhostTls })
      assert.match(server.url, /^wss:/)
      const connection = yield* connect(server.url, { tls: { ca: localhostTls.cert } })
      yield* connection.send("secret")
      assert.strictEqual(textOf(yield* connection.receive), "secret")
      const [serverSide] = yield* server.connections
      assert.isTrue(serverSide.request.secure)
      yield* connection.close()
    }))

  it.live("listens with TLS and encrypted keys", () =>
    Effect.gen(function*() {
      const passphrase = "open sesame"
      const encrypted = String(
        createPrivateKey(localhostTls.key).export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase })
      )
      const server = yield* serve(echo, {
        tls: { key: encrypted, passphrase, cert: localhostTls.cert, requestCert: true, ca: localhostTls.cert }
      })
      const connection = yield* connect(server.url, {
        tls: { ca: localhostTls.cert, key: encrypted, passphrase, cert: localhostTls.cert }
      })
      yield* connection.send("secret")
      assert.strictEqual(textOf(yield* connection.receive), "secret")
    }))

  it.live("accepts any Duplex", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo)
      const [ours, theirs] = duplexPair()
      yield* server.accept(theirs)
      const connection = yield* connect("ws://inside.example/", { duplex: ours })
      const [accepted] = yield* server.connections
      assert.strictEqual(accepted.request.host, "inside.example")
      assert.deepStrictEqual({ ...accepted.responseHeaders }, { ...connection.responseHeaders })
      yield* connection.send("no socket")
      assert.strictEqual(textOf(yield* connection.receive), "no socket")
      assert.isTrue((yield* connection.close()).clean)
    }))

  it.live("lists the open connections", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo)
      const one = yield* connect(`${server.url}/one`)
      yield* connect(`${server.url}/two`)
      const paths = Effect.map(server.connections, (all) => all.map((connection) => connection.request.path))
      assert.deepStrictEqual(yield* paths, ["/one", "/two"])
      yield* one.close()
      assert.deepStrictEqual(yield* paths, ["/two"])
    }))

  it.live("layerConfig reads options from the configuration", () =>
    Effect.gen(function*() {
      const provider = ConfigProvider.fromUnknown({ HOST: "127.0.0.1", PATH_PREFIX: "/ws" })
      const Server = WebSocketServer.layerConfig({
        host: Config.String("HOST"),
        path: Config.String("PATH_PREFIX"),
        handshakeTimeout: Config.Duration("HANDSHAKE").pipe(Config.withDefault("3 seconds"))
      }).pipe(Layer.provide(ConfigProvider.layer(provider)))
      const Main = WebSocketServer.serve(echo).pipe(Layer.provideMerge(Server))
      yield* Effect.gen(function*() {
        const { url } = yield* WebSocketServer.WebSocketServer
        assert.match(url, /^ws:\/\/127\.0\.0\.1:\d+\/ws$/)
        const connection = yield* connect(url)
        yield* connection.send("configured")
        assert.strictEqual(textOf(yield* connection.receive), "configured")
      }).pipe(Effect.provide(Main))
    }))

  for (const [what, said] of [["nothing", ""], ["half of a ClientHello", "160301"]] as const) {
    it.live(`closes with TLS while a client has sent ${what}`, () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const server = yield* serve(idle, { tls: localhostTls, handshakeTimeout: "1 hour" }).pipe(Scope.provide(scope))
        const peer = yield* rawConnect(server.port)
        peer.write(Buffer.from(said, "hex"))
        // The server accepts connections in order: once a later one has a response, it has accepted this one.
        yield* Effect.scoped(connect(server.url, { tls: { ca: localhostTls.cert } }))
        yield* Scope.close(scope, Exit.void)
        yield* peer.ended
      }))
  }

  it.live("closes while a plain HTTP connection is kept alive", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const server = yield* serve(idle, { onRequest: (_request, response) => response.end("ok") }).pipe(
        Scope.provide(scope)
      )
      const agent = new Http.Agent({ keepAlive: true })
      yield* Effect.promise(() =>
        new Promise((resolve, reject) =>
          Http.get({ port: server.port, agent }, (response) => response.resume().on("end", resolve)).on("error", reject)
        )
      )
      yield* Scope.close(scope, Exit.void)
      agent.destroy()
    }))
})

/** Two streams that are connected to each other. */
const duplexPair = (): [Duplex, Duplex] => {
  const ends: Array<Duplex> = []
  const make = (other: () => Duplex) =>
    new Duplex({
      read: () => {},
      write: (chunk, _encoding, done) => {
        other().push(Buffer.from(chunk))
        done()
      },
      final: (done) => {
        other().push(null)
        done()
      }
    })
  ends.push(make(() => ends[1]), make(() => ends[0]))
  return [ends[0], ends[1]]
}
