import { assert, describe, it } from "@effect/vitest"
import {
  acceptKey,
  handshakeHeaders,
  isKey,
  isSupportedHttpVersion,
  rejectionHeaders
} from "../../../src/internal/handshake/rules.ts"

describe("isSupportedHttpVersion (RFC 9110 §7.8)", () => {
  it("accepts HTTP/1.1 and later minor versions only", () => {
    const accepted = ["1.1", "1.2", "1.9", "1.0", "0.9", "2.0", "2", "1.10", "11.1", " 1.1", ""].filter(
      isSupportedHttpVersion
    )
    assert.deepStrictEqual(accepted, ["1.1", "1.2", "1.9"])
  })
})

describe("isKey (RFC 6455 §4.1)", () => {
  it("accepts 16 bytes in base64 only", () => {
    assert.isTrue(isKey("dGhlIHNhbXBsZSBub25jZQ=="))
    assert.isTrue(isKey("+/AAAAAAAAAAAAAAAAAAAA=="))
    for (
      const key of [
        "",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ= ",
        "GhlIHNhbXBsZSBub25jZQ==",
        "xdGhlIHNhbXBsZSBub25jZQ==",
        "dGhlIHNhbXBsZSBub25jZQ==\n",
        "-_hlIHNhbXBsZSBub25jZQ=="
      ]
    ) {
      assert.isFalse(isKey(key), JSON.stringify(key))
    }
  })
})

describe("acceptKey (RFC 6455 §4.2.2)", () => {
  it("returns the value of the RFC for the key of the RFC", () => {
    assert.strictEqual(acceptKey("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
  })
})

describe("the headers that a handshake sets itself", () => {
  it("a rejection may set headers of WebSocket that an acceptance may not", () => {
    for (const name of ["connection", "content-length", "transfer-encoding"]) {
      assert.isTrue(handshakeHeaders.has(name) && rejectionHeaders.has(name), name)
    }
    for (
      const name of ["upgrade", "key", "accept", "version", "protocol", "extensions"].map((part, i) =>
        i === 0 ? part : `sec-websocket-${part}`
      )
    ) {
      assert.isTrue(handshakeHeaders.has(name) && !rejectionHeaders.has(name), name)
    }
  })
})
