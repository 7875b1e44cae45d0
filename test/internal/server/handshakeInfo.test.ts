import { assert, describe, it } from "@effect/vitest"
import { RereadHandshake } from "../../../src/internal/server/handshakeInfo.ts"
import { requestHead } from "../../support/memoryUpgrade.ts"

describe("RereadHandshake", () => {
  const head = requestHead({ target: "/chat?room=1" })
  const info = new RereadHandshake(
    { ...head, rawHeaders: [...head.rawHeaders, ["Sec-WebSocket-Protocol", "v1"]] },
    { protocol: "v1", headers: { "X-Server": "a" } }
  )

  it("reads the request on first access, and keeps it", () => {
    assert.deepInclude(info.request, { path: "/chat", host: "localhost", protocols: ["v1"] })
    assert.strictEqual(info.request, info.request)
  })

  it("makes the headers of the response that the server has sent", () => {
    assert.strictEqual(info.subprotocol, "v1")
    assert.deepInclude(info.responseHeaders, {
      "sec-websocket-accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
      "sec-websocket-protocol": "v1",
      "x-server": "a"
    })
  })
})
