/** TLS of a client: trust, names and the certificate of the client. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { WebSocketClient } from "effect-ws"
import * as Https from "node:https"
import * as Net from "node:net"
import * as Tls from "node:tls"
import { ca, certificate, key, tls } from "../support/certificates.ts"
import { failure, visit } from "../support/connecting.ts"
import { echo } from "../support/serving.ts"
import { serve } from "../support/net.ts"

describe("tls", () => {
  it.live("trusts certificates of the authorities in ca, and no others", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { tls })
      yield* visit(server.url, { tls: { ca } })
      yield* visit(`wss://localhost:${server.port}`, { tls: { ca: [certificate("localhost.crt"), ca] } })
      const untrusted = yield* failure(WebSocketClient.connect(server.url))
      assert.deepInclude(untrusted, { _tag: "ConnectFailed", code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE" })
      const others = yield* failure(WebSocketClient.connect(server.url, { tls: { ca: certificate("localhost.crt") } }))
      assert.deepInclude(others, { _tag: "ConnectFailed", code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE" })
    }))

  it.live("rejects an expired certificate", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { tls: { key, cert: certificate("expired.crt") } })
      const error = yield* failure(WebSocketClient.connect(server.url, { tls: { ca } }))
      assert.deepInclude(error, { _tag: "ConnectFailed", code: "CERT_HAS_EXPIRED" })
    }))

  it.live("checks the certificate for the host of the URL, not for the Host header", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { tls })
      yield* visit(`wss://localhost:${server.port}`, { tls: { ca }, headers: { Host: "other.example" } })
      const options = { tls: { ca }, headers: { Host: "localhost" } }
      const error = yield* failure(WebSocketClient.connect(`wss://127.0.0.2:${server.port}`, options))
      assert.strictEqual(error._tag, "ConnectFailed")
    }))

  it.live("sends the host as servername without a trailing dot, and http/1.1 as ALPN protocol", () =>
    Effect.gen(function*() {
      const names: Array<unknown> = []
      const hosts: Array<string | undefined> = []
      const server = Tls.createServer({ key, cert: certificate("signed.crt"), ALPNProtocols: ["h2", "http/1.1"] })
      server.on("secureConnection", (socket) => {
        names.push(socket.servername)
        assert.strictEqual(socket.alpnProtocol, "http/1.1")
        socket.once("data", (data) => {
          hosts.push(/^Host: (.*?)(?::\d+)?\r$/m.exec(data.toString("latin1"))?.[1])
          socket.end("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        })
      })
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => {
          server.listen(0, "127.0.0.1", () => resume(Effect.void))
        }),
        () =>
          Effect.callback<void>((resume) => {
            server.close(() => resume(Effect.void))
          })
      )
      const { port } = server.address() as Net.AddressInfo
      const lookup: Net.LookupFunction = (_, __, callback) => callback(null, [{ address: "127.0.0.1", family: 4 }])
      const agent = new Https.Agent({ lookup })
      const duplex = () => Effect.sync(() => Net.connect(port, "127.0.0.1"))
      for (
        const [host, servername, options] of [
          ["localhost", "localhost", { duplex }],
          ["LOCALHOST.", "localhost", { duplex }],
          ["localhost.", "localhost", { agent }],
          ["127.0.0.1", false, {}],
          ["127.0.0.1.", false, {}],
          // The certificate is checked for `servername`, not for the URL.
          ["elsewhere.example", "localhost", { duplex, servername: "localhost." }],
          ["elsewhere.example", false, { duplex, servername: "127.0.0.1" }],
          ["localhost", false, { duplex, servername: "" }]
        ] as const
      ) {
        const { servername: given, ...way } = { servername: undefined, ...options }
        const connecting = WebSocketClient.connect(`wss://${host}:${port}`, { ...way, tls: { ca, servername: given } })
        const error = yield* failure(connecting)
        assert.strictEqual(error._tag, "HandshakeRejected", error.message)
        assert.strictEqual(names.pop(), servername)
        // DNS and HTTP use a host as it is written (RFC 3986 §3.2.2).
        assert.strictEqual(hosts.pop(), new URL(`ws://${host}`).hostname)
      }
      const misnamed = yield* failure(
        WebSocketClient.connect(`wss://elsewhere.example.:${port}`, { duplex, tls: { ca } })
      )
      assert.deepInclude(misnamed, { _tag: "ConnectFailed", code: "ERR_TLS_CERT_ALTNAME_INVALID" })
    }))

  it.live("sends the client certificate to a server that requests one", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { tls: { ...tls, ca, requestCert: true } })
      yield* visit(server.url, { tls: { ca, cert: certificate("client.crt"), key: Redacted.make(key) } })
      for (const own of [{}, { cert: certificate("localhost.crt"), key }]) {
        const error = yield* failure(WebSocketClient.connect(server.url, { tls: { ca, ...own } }))
        assert.strictEqual(error._tag, "ConnectFailed")
      }
      const lenient = yield* serve(echo, { tls: { ...tls, ca, requestCert: true, rejectUnauthorized: false } })
      yield* visit(lenient.url, { tls: { ca } })
    }))

  it.live("fails with ConnectFailed at a server without TLS", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo)
      const error = yield* failure(WebSocketClient.connect(`wss://127.0.0.1:${server.port}`))
      assert.strictEqual(error._tag, "ConnectFailed")
    }))
})
