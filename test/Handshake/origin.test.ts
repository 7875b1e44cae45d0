/** Origin policies (RFC 6455 §10.2). */
import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { Handshake } from "effect-ws"
import { factsOf, http, read, succeed, withHeaders } from "../support/handshakes.ts"

const check = (host: string, origin: string | undefined, policy: Handshake.OriginPolicy, secure = false) =>
  Handshake.checkOrigin({ ...succeed(read()), host, origin, secure }, policy)

describe("checkOrigin (RFC 6455 §4.2.2, §10.2)", () => {
  for (
    const [host, origin, allowed] of [
      ["example.com", "http://example.com", true],
      ["example.com", "https://example.com", true],
      ["EXAMPLE.com", "http://example.com", true],
      ["example.com:80", "http://example.com", true],
      ["example.com:443", "https://example.com", true],
      ["example.com:", "https://example.com", true],
      ["Example.com:080", "http://example.com", true],
      ["example.com:8080", "http://example.com:8080", true],
      ["example.com:443", "http://example.com:443", true],
      ["example.com:80", "https://example.com:80", true],
      ["[::1]:8080", "http://[::1]:8080", true],
      ["[::1]", "http://[::1]", true],
      ["[0:0::1]:80", "http://[::1]", true],
      ["192.0.2.1", "https://192.0.2.1", true],
      ["localhost:3000", "http://localhost:3000", true],
      ["xn--bcher-kva.example", "https://xn--bcher-kva.example", true],
      ["example.com", undefined, true],
      // Another host or port.
      ["example.com:443", "http://example.com", false],
      ["example.com:80", "https://example.com", false],
      ["example.com", "http://example.com:8080", false],
      ["example.com:8080", "http://example.com", false],
      ["example.com", "http://www.example.com", false],
      ["example.com", "http://example.org", false],
      ["example.com", "http://example.com.evil.example", false],
      ["example.com", "http://evil-example.com", false],
      ["example.com", "http://example.com.", false],
      // No serialised origin, though a URL of the host that was asked.
      ["example.com", "http://example.com/", false],
      ["example.com", "http://example.com/chat", false],
      ["example.com", "http://example.com?", false],
      ["example.com", "http://example.com#", false],
      ["example.com", "http://user@example.com", false],
      ["example.com", "http://user:pass@example.com", false],
      ["example.com", "http://@example.com", false],
      ["example.com", "http://example.com:80", false],
      ["example.com", "https://example.com:443", false],
      ["example.com:80", "http://example.com:80", false],
      ["example.com", "http://example.com:", false],
      ["example.com:8080", "http://example.com:08080", false],
      ["example.com", "http://EXAMPLE.com", false],
      ["EXAMPLE.com", "http://EXAMPLE.com", false],
      ["example.com", "HTTP://example.com", false],
      ["example.com", "Https://example.com", false],
      ["[::1]", "http://[0:0::1]", false],
      ["[0:0::1]", "http://[0:0::1]", false],
      ["[::ab]", "http://[::AB]", false],
      ["192.0.2.1", "http://192.0.513", false],
      ["xn--bcher-kva.example", "https://bücher.example", false],
      ["example.com", "http://ex%61mple.com", false],
      ["example.com", "http:example.com", false],
      ["example.com", "http:/example.com", false],
      ["example.com", "http:\\\\example.com", false],
      ["example.com", " http://example.com", false],
      ["example.com", "http://example.com\t", false],
      ["example.com", "http://example.com, http://example.com", false],
      // Other schemes.
      ["example.com", "ws://example.com", false],
      ["example.com", "wss://example.com", false],
      ["example.com", "ftp://example.com", false],
      ["example.com", "httpx://example.com", false],
      ["example.com", "xhttp://example.com", false],
      ["example.com", "chrome-extension://example.com", false],
      ["example.com", "blob:http://example.com", false],
      ["example.com", "file://", false],
      ["", "file://", false],
      // No URL.
      ["example.com", "null", false],
      ["null", "null", false],
      ["example.com", "", false],
      ["example.com", "example.com", false],
      ["example.com", "//example.com", false],
      ["example.com", "http:", false],
      ["example.com", "http://", false],
      // No host.
      ["", "http://example.com", false],
      ["256.0.0.1", "http://example.com", false],
      ["example.com:99999", "http://example.com", false],
      ["exa mple.com", "http://example.com", false],
      ["example.com, example.org", "http://example.com", false]
    ] as const
  ) {
    const [page, server] = [origin, host].map((text) => JSON.stringify(text))
    it(`same-origin: a page of ${page} ${allowed ? "may" : "may not"} connect to ${server}`, () => {
      const result = check(host, origin, "same-origin")
      if (allowed) assert.isUndefined(succeed(result))
      else assert.deepStrictEqual(factsOf(result), { _tag: "OriginNotAllowed", status: 403, origin, host })
    })
  }

  for (
    const [host, origin, overTls] of [
      ["example.com", "https://example.com", true],
      ["EXAMPLE.com", "https://example.com", true],
      ["example.com:443", "https://example.com", true],
      ["example.com:", "https://example.com", true],
      ["example.com:8443", "https://example.com:8443", true],
      ["example.com:80", "https://example.com:80", true],
      ["[::1]", "https://[::1]", true],
      ["[0:0::1]:443", "https://[::1]", true],
      ["[::1]:8443", "https://[::1]:8443", true],
      ["192.0.2.1", "https://192.0.2.1", true],
      ["localhost:8443", "https://localhost:8443", true],
      // An attacker on the network can write it: a page of the same host and port, but http.
      ["example.com", "http://example.com", false],
      ["EXAMPLE.com", "http://example.com", false],
      ["example.com:80", "http://example.com", false],
      ["example.com:443", "http://example.com:443", false],
      ["example.com:8443", "http://example.com:8443", false],
      ["[::1]", "http://[::1]", false],
      ["[::1]:8443", "http://[::1]:8443", false],
      ["192.0.2.1", "http://192.0.2.1", false],
      ["localhost:8443", "http://localhost:8443", false]
    ] as const
  ) {
    it(`same-origin: a page of ${origin} may${overTls ? "" : " not"} connect to ${host} over TLS`, () => {
      const result = check(host, origin, "same-origin", true)
      if (overTls) assert.isUndefined(succeed(result))
      else assert.deepStrictEqual(factsOf(result), { _tag: "OriginNotAllowed", status: 403, origin, host })
      // A proxy may have ended TLS, and not told.
      assert.isUndefined(succeed(check(host, origin, "same-origin", false)))
    })
  }

  it("a list and any: TLS makes no difference", () => {
    for (const secure of [true, false]) {
      assert.isUndefined(succeed(check("example.com", "http://example.com", ["http://example.com"], secure)))
      assert.isUndefined(succeed(check("example.com", "http://example.com", "any", secure)))
      assert.isUndefined(succeed(check("example.com", undefined, "same-origin", secure)))
      assert.isTrue(Result.isFailure(check("example.com", "http://example.com", ["https://example.com"], secure)))
    }
  })

  it("same-origin: the host of an absolute target counts, and not the Host header", () => {
    for (
      const [origin, allowed] of [["https://example.com:8443", true], ["https://other.example", false]] as const
    ) {
      const request = succeed(
        Handshake.readRequest(
          http({
            target: "https://EXAMPLE.com:8443/chat",
            rawHeaders: withHeaders({ Host: "other.example", Origin: origin })
          })
        )
      )
      const result = Handshake.checkOrigin(request, "same-origin")
      if (allowed) assert.isUndefined(succeed(result))
      else {
        assert.deepStrictEqual(factsOf(result), {
          _tag: "OriginNotAllowed",
          status: 403,
          origin,
          host: "example.com:8443"
        })
      }
    }
  })

  const list = ["https://example.com", "http://localhost:3000"]
  for (
    const [origin, allowed] of [
      ["https://example.com", true],
      ["http://localhost:3000", true],
      [undefined, true],
      ["http://example.com", false],
      ["https://example.com:8443", false],
      ["https://example.com.evil.example", false],
      ["https://www.example.com", false],
      ["https://EXAMPLE.com", false],
      ["https://example.com/", false],
      ["https://example.com:443", false],
      ["https://api.example.net", false],
      ["null", false],
      ["", false]
    ] as const
  ) {
    it(`a list: a page of ${origin} ${allowed ? "may" : "may not"} connect`, () => {
      const result = check("api.example.net", origin, list)
      if (allowed) assert.isUndefined(succeed(result))
      else {
        assert.deepStrictEqual(factsOf(result), {
          _tag: "OriginNotAllowed",
          status: 403,
          origin,
          host: "api.example.net"
        })
      }
    })
  }

  it("an empty list: no page may connect", () => {
    assert.strictEqual(factsOf(check("example.com", "http://example.com", []))["_tag"], "OriginNotAllowed")
    assert.isUndefined(succeed(check("example.com", undefined, [])))
  })

  it("a list may hold null, which sandboxed pages send", () => {
    assert.isUndefined(succeed(check("example.com", "null", ["null"])))
  })

  it("any: every page may connect", () => {
    for (const origin of ["http://example.org", "null", "", "nonsense", undefined]) {
      assert.isUndefined(succeed(check("example.com", origin, "any")))
    }
  })
})
