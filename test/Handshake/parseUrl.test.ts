/** WebSocket URLs (RFC 6455 §3). */
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Result } from "effect"
import { Handshake } from "effect-ws"
import { factsOf, sampleKey, succeed } from "../support/handshakes.ts"
import { among } from "../support/properties.ts"
import { hostileValues } from "../support/hostile.ts"

/** Text that is nearly a URL, with a secret somewhere before an "@", or behind a "?" or "#". */
const secretUrl: Arbitrary.Arbitrary<string> = Arbitrary.flatMap(
  Arbitrary.array(among("/", "\\", "?", "#", ":", "@", "%", "%zz", " ", "\n", "[", "a", "1", "é", "//"), {
    maxLength: 4
  }),
  (parts) =>
    Arbitrary.map(
      Arbitrary.all([
        among("ws://", "wss://", "WS:", "http://", "https:/", "ftp://", " ws://", "//", "", "localhost:", "ws:\\\\"),
        among("user:", "", ":"),
        among("@h/", "@[::1]/", "@h:99999/", "@", "@h/#x", "@h/a?b#c"),
        among(0, 1, 2, 3, 4)
      ]),
      ([scheme, user, rest, at]) => {
        const filled = [...parts.slice(0, at), "SECRET", ...parts.slice(at)].join("")
        return at < 4
          ? `${scheme}${user}${filled}${rest}`
          : `${scheme}h/${filled.length % 2 === 0 ? "?" : "#"}${filled}`
      }
    )
)

describe("parseUrl (RFC 6455 §3)", () => {
  for (
    const [url, href] of [
      ["ws://example.com", "ws://example.com/"],
      ["wss://example.com/chat?room=1", "wss://example.com/chat?room=1"],
      ["WS://EXAMPLE.com/Chat", "ws://example.com/Chat"],
      ["http://example.com/chat", "ws://example.com/chat"],
      ["https://example.com/chat", "wss://example.com/chat"],
      ["ws://example.com:80/", "ws://example.com/"],
      ["wss://example.com:443/", "wss://example.com/"],
      ["ws://example.com:443/", "ws://example.com:443/"],
      ["http://example.com:80/", "ws://example.com/"],
      ["https://example.com:443/", "wss://example.com/"],
      ["https://example.com:80/", "wss://example.com:80/"],
      ["ws://[::1]:8080/", "ws://[::1]:8080/"],
      ["ws://127.0.0.1/a b", "ws://127.0.0.1/a%20b"],
      ["ws://example.com/%23", "ws://example.com/%23"],
      ["ws://us%40er:p%3ass@example.com/", "ws://us%40er:p%3ass@example.com/"],
      ["ws://bücher.example/", "ws://xn--bcher-kva.example/"]
    ] as const
  ) {
    it(`reads ${url}`, () => {
      assert.strictEqual(succeed(Handshake.parseUrl(url)).href, href)
    })
  }

  it("reads a host beyond ASCII also after Node has optimized its URL functions", () => {
    for (let i = 0; i < 20_000; i++) assert.isTrue(Result.isSuccess(Handshake.parseUrl("ws://h\u00e9.example/")))
  })

  it("reads a URL object without changing it", () => {
    const url = new URL("https://example.com/chat")
    assert.strictEqual(succeed(Handshake.parseUrl(url)).href, "wss://example.com/chat")
    assert.strictEqual(url.href, "https://example.com/chat")
  })

  const notAbsolute = "expected an absolute URL, such as wss://example.com/feed"
  const notEncoded = "expected a percent-encoded user name and password; write % as %25"
  const fragment = "expected no fragment; write # as %23 if it belongs to the path"
  const control = "expected no control characters, got a line break or another one"
  for (
    const [url, problem] of [
      ["", notAbsolute],
      ["/chat", notAbsolute],
      ["//example.com/chat", notAbsolute],
      ["example.com", notAbsolute],
      ["ws://", notAbsolute],
      ["ws://example.com:99999/", notAbsolute],
      ["ws://exa mple.com/", notAbsolute],
      ["ws://[::1/", notAbsolute],
      ["ftp://example.com/", "expected the scheme ws or wss, got ftp"],
      ["file:///chat", "expected the scheme ws or wss, got file"],
      ["localhost:8080", "expected the scheme ws or wss, got localhost"],
      ["wss+unix://a/", "expected the scheme ws or wss, got wss+unix"],
      ["ws://example.com/\r\nX-Injected: 1", control],
      ["ws://example.com/\t", control],
      ["ws://exam\nple.com/", control],
      ["ws://example.com/\0", control],
      ["ws://example.com/\x7f", control],
      ["ws://example.com/\n", control]
    ] as const
  ) {
    it(`rejects ${JSON.stringify(url)}`, () => {
      assert.deepStrictEqual(factsOf(Handshake.parseUrl(url)), { _tag: "InvalidUrl", url, problem })
      assert.deepStrictEqual(factsOf(Handshake.makeRequest(url, sampleKey)), { _tag: "InvalidUrl", url, problem })
    })
  }

  for (
    const [url, shown, problem] of [
      ["ws://example.com/#", "ws://example.com/", fragment],
      ["ws://example.com/# ", "ws://example.com/", fragment],
      ["ws://example.com/#\n", "ws://example.com/", fragment],
      [" ws://example.com#", " ws://example.com", fragment],
      ["ws://example.com?#", "ws://example.com", fragment],
      ["ws://example.com/#%23", "ws://example.com/", fragment],
      ["ws://example.com/##", "ws://example.com/", fragment],
      ["ws://example.com/#secret", "ws://example.com/", fragment],
      ["ws://example.com/chat?token=secret#x", "ws://example.com/chat", fragment],
      ["https://example.com#x", "https://example.com", fragment],
      ["ws://exa mple.com/?token=secret", "ws://exa mple.com/", notAbsolute],
      ["ws://user:secret@example.com/#", "ws://***@example.com/", fragment],
      ["ws://secret@example.com/chat#x", "ws://***@example.com/chat", fragment],
      ["ws://:secret@example.com#x", "ws://***@example.com", fragment],
      ["ws://user:sec@ret@example.com:8080/#", "ws://***@example.com:8080/", fragment],
      ["ws://us%40er:sec%2fret@example.com/#", "ws://***@example.com/", fragment],
      ["http://user:secret@[::1]:8080/#", "http://***@[::1]:8080/", fragment],
      [" WSS://user:secret@example.com/# ", " WSS://***@example.com/", fragment],
      ["ws:user:secret@example.com/#", "ws:***@example.com/", fragment],
      ["ws:/user:secret@example.com/#", "ws:/***@example.com/", fragment],
      ["ws:\\\\user:secret@example.com/#", "ws:\\\\***@example.com/", fragment],
      ["ftp://user:secret@example.com/", "***@example.com/", "expected it to begin with ws:// or wss://"],
      ["secret://@example.com/", "***@example.com/", "expected it to begin with ws:// or wss://"],
      ["ws://user:secret@exa mple.com/", "ws://***@exa mple.com/", notAbsolute],
      ["ws://user:secret@", "ws://***@", notAbsolute],
      ["//user:secret@example.com/", "//***@example.com/", notAbsolute],
      ["ws://secret%zz@example.com/", "ws://***@example.com/", notEncoded],
      ["ws://user:secret%@example.com/", "ws://***@example.com/", notEncoded],
      ["ws://user:secret%ff@example.com/", "ws://***@example.com/", notEncoded],
      ["ws://%ff:secret@example.com/", "ws://***@example.com/", notEncoded],
      // Characters that end the host where they are not escaped.
      ["ws://user:#secret@example.com/", "ws://***", fragment],
      ["ws://user:sec#ret@example.com/", "ws://***", notAbsolute],
      ["ws://user:secret?@example.com/", "ws://***", notAbsolute],
      ["ws://user:secret/@example.com/", "ws://***@example.com/", notAbsolute],
      ["ws://user:secret\\@example.com/", "ws://***@example.com/", notAbsolute],
      ["ws://user:1/secret@example.com/#", "ws://***@example.com/", fragment],
      ["ws://user:secret@example.com/a@b#x", "ws://***@b", fragment],
      ["ws://example.com/?a@secret#x", "ws://***", fragment],
      // Without a scheme, or with another one.
      ["secret:password@example.com/", "***@example.com/", "expected it to begin with ws:// or wss://"],
      ["user:secret#@example.com/", "***", "expected it to begin with ws:// or wss://"],
      ["secret@example.com", "***@example.com", notAbsolute],
      ["mailto:secret@example.com", "***@example.com", "expected it to begin with ws:// or wss://"],
      ["w\ns://user:secret@example.com/", "***@example.com/", control],
      ["ws://us\ner:secret@example.com/", "ws://***@example.com/", control]
    ] as const
  ) {
    it(`rejects ${JSON.stringify(url)}, and shows no credentials, query or fragment`, () => {
      const result = Handshake.parseUrl(url)
      assert.deepStrictEqual(factsOf(result), { _tag: "InvalidUrl", url: shown, problem })
      assert.deepStrictEqual(factsOf(Handshake.makeRequest(url, sampleKey)), factsOf(result))
      if (Result.isFailure(result)) assert.notInclude(String(result.failure), "secret")
    })
  }

  it("rejects a value that is no URL, and does not throw", () => {
    for (const [name, value] of hostileValues) {
      const result = Handshake.parseUrl(value as string)
      assert.strictEqual(Result.isFailure(result) ? result.failure._tag : "valid", "InvalidUrl", name)
    }
  })

  it("rejects a URL object, and shows no credentials, query or fragment", () => {
    for (
      const [url, shown] of [
        ["ws://example.com/#", "ws://example.com/"],
        ["wss://user:secret@example.com#x", "wss://***@example.com/"],
        ["ws:user:secret@example.com/?secret#", "ws://***@example.com/"]
      ] as const
    ) {
      assert.deepStrictEqual(factsOf(Handshake.parseUrl(new URL(url))), {
        _tag: "InvalidUrl",
        url: shown,
        problem: fragment
      })
    }
  })

  it.prop(
    "shows no part of an invalid URL before an @, or behind a ? or #",
    [secretUrl],
    ([url]) => {
      const result = Handshake.parseUrl(url)
      if (Result.isSuccess(result)) return true
      const told = [result.failure.message, String(result.failure), JSON.stringify(result.failure)].join()
      return !told.toLowerCase().includes("secret")
    },
    { arbitrary: { runs: 2000 } }
  )
})
