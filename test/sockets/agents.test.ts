/** Node agents that make the sockets of a client, such as those of proxies. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { HandshakeError, WebSocketClient } from "effect-ws"
import { TestClock } from "effect/testing"
import { HttpsProxyAgent } from "https-proxy-agent"
import * as Http from "node:http"
import * as Net from "node:net"
import { SocksProxyAgent } from "socks-proxy-agent"
import { ca, tls } from "../support/certificates.ts"
import { failure, visit } from "../support/connecting.ts"
import { turn } from "../support/memory.ts"
import { echo } from "../support/serving.ts"
import { serve } from "../support/net.ts"
import { httpProxy, socksProxy } from "../support/proxies.ts"

describe("agents", () => {
  it.live("connects through an agent of an HTTP proxy, for ws and wss", () =>
    Effect.gen(function*() {
      const proxy = yield* httpProxy()
      const agent = new HttpsProxyAgent(`http://127.0.0.1:${proxy.port}`)
      const plain = yield* serve(echo)
      const secure = yield* serve(echo, { tls })
      yield* visit(plain.url, { agent })
      yield* visit(secure.url, { agent, tls: { ca } })
      yield* visit(`wss://localhost:${secure.port}`, { agent, tls: { ca } })
      assert.deepStrictEqual(proxy.targets, [
        `127.0.0.1:${plain.port}`,
        `127.0.0.1:${secure.port}`,
        `localhost:${secure.port}`
      ])
    }))

  it.live("verifies the certificate of the server through an agent", () =>
    Effect.gen(function*() {
      const proxy = yield* httpProxy()
      const agent = new HttpsProxyAgent(`http://127.0.0.1:${proxy.port}`)
      const server = yield* serve(echo, { tls })
      const untrusted = yield* failure(WebSocketClient.connect(server.url, { agent }))
      assert.deepInclude(untrusted, { _tag: "ConnectFailed", code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE" })
      const options = { agent, tls: { ca, servername: "other.example" } }
      const misnamed = yield* failure(WebSocketClient.connect(server.url, options))
      assert.deepInclude(misnamed, { _tag: "ConnectFailed", code: "ERR_TLS_CERT_ALTNAME_INVALID" })
    }))

  it.live("an agent sends the credentials of its proxy, and a 407 fails with ProxyRejected", () =>
    Effect.gen(function*() {
      const proxy = yield* httpProxy((credentials) => credentials === "Basic dTpw")
      const server = yield* serve(echo)
      yield* visit(server.url, { agent: new HttpsProxyAgent(`http://u:p@127.0.0.1:${proxy.port}`) })
      const agent = new HttpsProxyAgent(`http://127.0.0.1:${proxy.port}`)
      const error = yield* failure(WebSocketClient.connect(server.url, { agent }))
      assert.deepInclude(error, { _tag: "ProxyRejected", status: 407 })
      assert.strictEqual((error as HandshakeError.ProxyRejected).headers["proxy-authenticate"], "Basic")
    }))

  it.live("connects through an agent of a SOCKS proxy, which looks the host up", () =>
    Effect.gen(function*() {
      const proxy = yield* socksProxy
      const agent = new SocksProxyAgent(`socks5h://127.0.0.1:${proxy.port}`)
      const plain = yield* serve(echo)
      const secure = yield* serve(echo, { tls })
      yield* visit(plain.url, { agent })
      yield* visit(`wss://localhost:${secure.port}`, { agent, tls: { ca } })
      assert.deepStrictEqual(proxy.targets, [`127.0.0.1:${plain.port}`, `localhost:${secure.port}`])
    }))

  it.live("fails if an agent cannot reach its proxy, or the proxy the server", () =>
    Effect.gen(function*() {
      const closed = Net.createServer().listen(0, "127.0.0.1")
      yield* Effect.callback<void>((resume) => {
        closed.once("listening", () => resume(Effect.void))
      })
      const { port } = closed.address() as Net.AddressInfo
      yield* Effect.callback<void>((resume) => {
        closed.close(() => resume(Effect.void))
      })
      const target = `ws://127.0.0.1:${port}/`
      const through = (agent: Http.Agent) => failure(WebSocketClient.connect(target, { agent }))
      const http = yield* httpProxy()
      const socks = yield* socksProxy
      assert.deepInclude(yield* through(new HttpsProxyAgent(`http://127.0.0.1:${port}`)), {
        _tag: "ConnectFailed",
        code: "ECONNREFUSED"
      })
      assert.deepInclude(yield* through(new HttpsProxyAgent(`http://127.0.0.1:${http.port}`)), {
        _tag: "ProxyRejected",
        status: 502
      })
      const refused = yield* through(new SocksProxyAgent(`socks5://127.0.0.1:${socks.port}`))
      assert.strictEqual(refused._tag, "ConnectFailed")
      assert.match(refused.message, /refused/i)
    }))

  it.effect("handshakeTimeout covers a proxy that does not respond to an agent", () =>
    Effect.gen(function*() {
      const proxy = yield* httpProxy(() => "never")
      const agent = new HttpsProxyAgent(`http://127.0.0.1:${proxy.port}`)
      const fiber = yield* Effect.forkChild(failure(WebSocketClient.connect("wss://127.0.0.1:1/", { agent })))
      while (proxy.targets.length === 0) yield* turn
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "HandshakeTimeout")
      // The agent keeps its socket until the proxy responds, and no longer.
      const [client] = proxy.clients
      client.write("HTTP/1.1 200 Connection established\r\n\r\n")
      while (!client.readableEnded) yield* turn
    }))

  it.live("an agent that throws fails with ConnectFailed", () =>
    Effect.gen(function*() {
      const agent = new Http.Agent()
      agent.createConnection = () => {
        throw Object.assign(new Error("no way"), { code: "ENOWAY" })
      }
      const error = yield* failure(WebSocketClient.connect("ws://127.0.0.1:1/", { agent }))
      assert.deepInclude(error, { _tag: "ConnectFailed", code: "ENOWAY" })
    }))

  it.live("an agent with keepAlive does not keep the sockets of connections", () =>
    Effect.gen(function*() {
      const agent = new Http.Agent({ keepAlive: true, maxSockets: 1 })
      const server = yield* serve(echo)
      yield* visit(server.url, { agent })
      yield* visit(server.url, { agent })
      assert.deepStrictEqual([agent.sockets, agent.freeSockets], [{}, {}])
      agent.destroy()
    }))
})
