import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { PassThrough } from "node:stream"
import type { ConnectOptions } from "effect-ws/WebSocketClient"
import { sessionKey } from "../../../src/internal/node/sessionKey.ts"

const keyOf = (options: ConnectOptions = {}, url = "wss://a.example/x") => sessionKey(new URL(url), options)

const lookup = () => Effect.succeed(["127.0.0.1"])
const duplex = new PassThrough()

describe("sessionKey", () => {
  const same: ReadonlyArray<readonly [string, string, string]> = [
    ["another path", keyOf(), keyOf({}, "wss://a.example/y?z")],
    ["the default port", keyOf(), keyOf({}, "wss://a.example:443/")],
    ["another user", keyOf(), keyOf({}, "wss://u:p@a.example/")],
    ["headers and timeouts", keyOf(), keyOf({ headers: { a: "b" }, handshakeTimeout: 1, protocols: ["p"] })],
    ["a redacted key", keyOf({ tls: { key: "k" } }), keyOf({ tls: { key: Redacted.make("k") } })],
    ["the default of rejectUnauthorized", keyOf(), keyOf({ tls: { rejectUnauthorized: true } })],
    ["TLS options without TLS", keyOf({}, "ws://a/"), keyOf({ tls: { ca: "x" } }, "ws://a/")],
    ["the same function", keyOf({ lookup }), keyOf({ lookup })],
    ["a proxy as text or URL", keyOf({ proxy: { url: "http://p/" } }), keyOf({ proxy: { url: new URL("http://p/") } })]
  ]
  for (const [name, left, right] of same) {
    it(`sessionKey is the same with ${name}`, () => assert.strictEqual(left, right))
  }

  it("sessionKey differs between servers, identities and routes", () => {
    const keys = [
      keyOf(),
      keyOf({}, "ws://a.example/"),
      keyOf({}, "wss://b.example/"),
      keyOf({}, "wss://a.example:444/"),
      ...[{ ca: "1" }, { ca: ["1", "2"] }, { cert: "1" }, { key: "1" }, { passphrase: "1" }, { servername: "1" }].map((
        tls
      ) => keyOf({ tls })),
      keyOf({ tls: { rejectUnauthorized: false } }),
      keyOf({ socketPath: "/a" }),
      keyOf({ lookup }),
      keyOf({ lookup: () => Effect.succeed(["127.0.0.1"]) }),
      keyOf({ duplex }),
      keyOf({ duplex: new PassThrough() }),
      ...[{}, { headers: { a: "b" } }, { tls: { ca: "1" } }].map((proxy) =>
        keyOf({ proxy: { url: "https://p.example", ...proxy } })
      ),
      keyOf({ proxy: { url: Redacted.make("https://u:p@p.example") } })
    ]
    assert.strictEqual(new Set(keys).size, keys.length)
  })

  it("does not show secrets", () => {
    assert.notInclude(keyOf({ tls: { key: "secret", passphrase: "secret" } }), "secret")
  })
})
