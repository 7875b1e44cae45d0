import { assert, describe, it } from "@effect/vitest"
import { requestAttributes } from "../../../src/internal/telemetry/requestAttributes.ts"
import { noHandshake } from "../../../src/internal/connection/connection.ts"

describe("requestAttributes", () => {
  const request = { host: "example.com:8080", path: "/chat", key: "a2V5", remoteAddress: "192.0.2.7" }

  it("names path, client and key of a server's request", () => {
    assert.deepStrictEqual(requestAttributes("server", request), {
      "url.path": "/chat",
      "client.address": "192.0.2.7",
      "websocket.key": "a2V5"
    })
  })

  it("names the server of a client's request, without the port", () => {
    assert.deepStrictEqual(requestAttributes("client", { ...request, remoteAddress: undefined }), {
      "server.address": "example.com",
      "url.path": "/chat",
      "websocket.key": "a2V5"
    })
    const { "server.address": address } = requestAttributes("client", { ...request, host: "[::1]:80" })
    assert.strictEqual(address, "[::1]")
  })

  it("leaves out the key of HTTP/2 and the address of an unknown client", () => {
    const attributes = requestAttributes("server", { ...request, key: "", remoteAddress: undefined })
    assert.deepStrictEqual(attributes, { "url.path": "/chat" })
  })

  it("returns nothing for a connection without a handshake", () => {
    for (const role of ["client", "server"] as const) {
      assert.deepStrictEqual(requestAttributes(role, noHandshake.request), {})
    }
  })
})
