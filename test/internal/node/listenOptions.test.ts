import { assert, describe, it } from "@effect/vitest"
import type { WebSocketServer } from "effect-ws"
import { tls } from "../../support/certificates.ts"
import { checkListen } from "../../../src/internal/node/listenOptions.ts"

describe("checkListen", () => {
  const invalid: Readonly<Record<string, WebSocketServer.ListenOptions>> = {
    port: { port: 65_536 },
    backlog: { backlog: 0 },
    path: { path: "/chat?room=1" },
    socketPath: { socketPath: "" },
    handshakeTimeout: { handshakeTimeout: 0 },
    maxHeaderSize: { maxHeaderSize: NaN },
    maxPendingHandshakes: { maxPendingHandshakes: 0 },
    http2: { http2: true },
    cleartextHttp2: { cleartextHttp2: true, tls },
    "http2Limits.maxStreams": { http2Limits: { maxStreams: 0 } },
    "http2Limits.idleTimeout": { http2Limits: { idleTimeout: 0 } }
  }
  for (const [option, options] of Object.entries(invalid)) {
    it(`rejects an invalid ${option}`, () =>
      assert.deepInclude(checkListen(options), { _tag: "InvalidOption", option }))
  }

  it("allows no options, and the bounds of each", () => {
    assert.isUndefined(checkListen({}))
    assert.isUndefined(checkListen({ http2: true, tls, cleartextHttp2: false }))
    assert.isUndefined(checkListen({ cleartextHttp2: true, http2: false }))
    assert.isUndefined(checkListen({ http2Limits: { maxStreams: 1, idleTimeout: Infinity } }))
    assert.isUndefined(checkListen({
      port: 65_535,
      backlog: 1,
      path: "/",
      handshakeTimeout: Infinity,
      maxHeaderSize: 1,
      maxPendingHandshakes: 1
    }))
  })

  it("says what a path looks like", () => {
    assert.include(
      checkListen({ path: "chat" })?.message,
      `expected a path that starts with "/" and has no query, got "chat"`
    )
  })
})
