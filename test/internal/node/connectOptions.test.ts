import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { WebSocketClient } from "effect-ws"
import * as Http from "node:http"
import { checkConnect } from "../../../src/internal/node/connectOptions.ts"

type Options = WebSocketClient.ConnectOptions

const agent = new Http.Agent()
const duplex = () => Effect.never
const proxy = { url: "http://proxy.example:3128" }

describe("checkConnect", () => {
  it("allows one way to the server", () => {
    for (
      const options of [{}, { agent }, { duplex }, { proxy }, { socketPath: "/tmp/a.sock" }] as ReadonlyArray<Options>
    ) {
      assert.isUndefined(checkConnect(options))
    }
  })

  it("rejects two ways to the server, and names both", () => {
    const problem = checkConnect({ duplex, proxy } as Options)
    assert.deepInclude(problem, {
      option: "duplex",
      problem: "expected at most one of agent, duplex, proxy and socketPath, got duplex and proxy"
    })
    assert.include(
      checkConnect({ agent, proxy, socketPath: "/a" } as Options)?.problem,
      "got agent and proxy and socketPath"
    )
  })

  for (
    const [option, invalid, valid] of [
      ["maxRedirects", [{ maxRedirects: -1 }, { maxRedirects: 0.5 }, { maxRedirects: NaN }], [{ maxRedirects: 0 }]],
      ["handshakeTimeout", [{ handshakeTimeout: 0 }], [{ handshakeTimeout: 1 }, { handshakeTimeout: Infinity }]],
      ["connectionAttemptDelay", [{ connectionAttemptDelay: -1 }], [{ connectionAttemptDelay: 0 }]],
      ["tls.servername", [{ tls: { servername: "a b" } }, { tls: { servername: "a/b" } }], [
        { tls: { servername: "" } },
        { tls: { servername: "a-1.example." } }
      ]],
      ["http2", [{ http2: "yes" }, { http2: true }, { http2: "only", agent }] as never, [
        { http2: "prefer" },
        { http2: "only" },
        { http2: "prefer", agent }
      ]],
      ["socketPath", [{ socketPath: "" }], [{ socketPath: "/tmp/a.sock" }]],
      ["proxy.url", [{ proxy: { url: "ftp://proxy" } }], [{ proxy }]],
      ["maxMessageSize", [{ maxMessageSize: -1 }], [{ maxMessageSize: 0 }]]
    ] as ReadonlyArray<readonly [string, ReadonlyArray<Options>, ReadonlyArray<Options>]>
  ) {
    it(`rejects an invalid ${option}, and names it`, () => {
      for (const options of invalid) assert.strictEqual(checkConnect(options)?.option, option, JSON.stringify(options))
      for (const options of valid) assert.isUndefined(checkConnect(options), JSON.stringify(options))
    })
  }
})
