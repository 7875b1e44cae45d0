import { assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import { PassThrough } from "node:stream"
import { redirectTo } from "../../../src/internal/client/redirects.ts"
import type { ConnectOptions } from "../../../src/WebSocketClient.ts"

const follow = (from: string, location: string, options: ConnectOptions = {}) =>
  redirectTo(location, new URL(from), options)

const followed = (from: string, location: string, options?: ConnectOptions) => {
  const result = follow(from, location, options)
  return Result.isSuccess(result) ? result.success : assert.fail(result.failure.message)
}

const secrets = { Authorization: "a", cookie: "b", HOST: "c", "Proxy-authorization": "d", "X-Trace": "e" }
const tls = { ca: "ca", cert: "cert", key: "key", servername: "name", rejectUnauthorized: false }

describe("redirectTo", () => {
  for (
    const [from, location, to] of [
      ["ws://a.example/", "http://a.example/b", "ws://a.example/b"],
      ["ws://a.example/", "https://a.example/b", "wss://a.example/b"],
      ["ws://a.example/", "ws://a.example/b#part", "ws://a.example/b"],
      ["ws://a.example/", "ws://a.example/b?c=1#", "ws://a.example/b?c=1"],
      ["ws://u:p@a.example/", "ws://a.example/b", "ws://u:p@a.example/b"],
      ["ws://u:p@a.example/", "ws://v@a.example/b", "ws://v@a.example/b"],
      ["ws://u:p@a.example/", "ws://b.example/", "ws://b.example/"],
      ["ws://u:p@a.example/", "ws://a.example:8080/", "ws://a.example:8080/"],
      ["ws://u:p@a.example/", "wss://a.example/", "wss://a.example/"]
    ] as const
  ) {
    it(`leads from ${from} by ${location} to ${to}`, () => {
      assert.strictEqual(followed(from, location).url.href, to)
    })
  }

  it("keeps all options within an origin", () => {
    const options = { headers: secrets, tls, socketPath: "/tmp/x", protocols: ["a"] }
    assert.strictEqual(followed("ws://a.example/", "ws://a.example/b", options).options, options)
  })

  for (const to of ["ws://b.example/", "ws://a.example:8080/", "wss://a.example/"]) {
    it(`drops credentials, certificate and servername for another origin: ${to}`, () => {
      const options = { headers: secrets, tls, protocols: ["a"] }
      assert.deepStrictEqual(followed("ws://a.example/", to, options).options, {
        headers: { "X-Trace": "e" },
        tls: { ca: "ca", rejectUnauthorized: false },
        protocols: ["a"]
      })
    })
  }

  for (
    const [about, from, location, options, problem] of [
      ["wss to ws", "wss://a.example/", "ws://a.example/", {}, /from wss to ws/],
      ["wss to http", "wss://a.example/", "http://a.example/", {}, /from wss to ws/],
      ["another scheme", "ws://a.example/", "ftp://a.example/", {}, /scheme ws or wss, got ftp/],
      ["a relative Location", "ws://a.example/", "/b", {}, /absolute URL/],
      ["a stream", "ws://a.example/", "ws://a.example/b", { duplex: new PassThrough() }, /carries one request/],
      ["a Unix socket", "ws://a.example/", "ws://b.example/", { socketPath: "/tmp/x" }, /one server only/]
    ] as const
  ) {
    it(`refuses ${about}`, () => {
      const result = follow(from, location, options)
      assert.isTrue(Result.isFailure(result))
      if (Result.isSuccess(result)) return
      assert.strictEqual(result.failure.location, location)
      assert.match(result.failure.problem, problem)
    })
  }

  it("follows a redirect with a function that returns streams", () => {
    const options = { duplex: () => Effect.succeed(new PassThrough()) }
    assert.strictEqual(followed("ws://a.example/", "ws://b.example/", options).options.duplex, options.duplex)
  })
})
