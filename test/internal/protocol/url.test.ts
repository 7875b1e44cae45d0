import { assert, describe, it } from "@effect/vitest"
import { Arbitrary } from "effect"
import {
  basicAuthorization,
  hostOf,
  isHost,
  parse,
  portOf,
  redact,
  resolveLocation,
  shown
} from "../../../src/internal/protocol/url.ts"
import { among } from "../../support/properties.ts"

/** Text of which most is a Location that leads somewhere. */
const anyLocation: Arbitrary.Arbitrary<string> = Arbitrary.map(
  Arbitrary.array(
    among(
      ..."/?#:@%.&=+ [",
      ...["//", "\\", "..", "a", "Z", "é", "ü", "☃", "💥", "ﬀ", "%C3%A9", "%e9", "%zz", "\ud800", "\u3002"],
      ...["http://h", "https://other.example", "WSS://h", "ftp:", "ws://b", "u:p@h", "[::1]", ":81", "127.1", "\t"]
    ),
    { maxLength: 8 }
  ),
  (parts) => parts.join("")
)

describe("resolveLocation", () => {
  it.prop(
    "leads where the URL standard leads with the text, if the header has it in UTF-8",
    [anyLocation, among("http://example.com/a/b?c", "https://[::1]:81/", "http://example.com")],
    ([location, base]) => {
      const header = Buffer.from(location, "utf8").toString("latin1")
      return parse(resolveLocation(header, base))?.href === parse(location, base)?.href
    },
    { arbitrary: { runs: 2000 } }
  )

  it("resolveLocation escapes each byte of a header that is not UTF-8", () => {
    for (let code = 0x80; code <= 0xff; code++) {
      const escaped = `http://h/%${code.toString(16).toUpperCase()}`
      assert.strictEqual(resolveLocation(`/${String.fromCharCode(code)}`, "http://h/"), escaped)
    }
  })
})

describe("parse", () => {
  it("parses a host beyond ASCII also after Node has optimized its URL functions", () => {
    for (let i = 0; i < 20_000; i++) assert.strictEqual(parse("ws://h\u00e9/")?.hostname, "xn--h-bga")
  })
})

describe("basicAuthorization", () => {
  for (
    const [url, expected] of [
      ["ws://h/", undefined],
      ["ws://u:p@h/", "Basic dTpw"],
      ["ws://u@h/", "Basic dTo="],
      ["ws://:p@h/", "Basic OnA="],
      ["ws://%C3%A9:%40@h/", "Basic w6k6QA=="]
    ] as const
  ) {
    it(`basicAuthorization of ${url} is ${expected}`, () => {
      assert.strictEqual(basicAuthorization(new URL(url)), expected)
    })
  }
})

describe("isHost", () => {
  it("accepts names and addresses, with a port or without", () => {
    for (const host of ["h", "a.example", "a.example:", "a.example:80", "127.0.0.1:81", "[::1]", "[::1]:65535"]) {
      assert.deepStrictEqual([isHost(host), isHost(host)], [true, true], host)
    }
  })

  it("rejects all other texts", () => {
    for (const text of ["", "a b", "u@h", "h/p", "h?q", "h#f", "h:65536", "h:123456", "h:p", "[::1", "[h]", "::1"]) {
      assert.deepStrictEqual([isHost(text), isHost(text)], [false, false], text)
    }
  })
})

describe("redact", () => {
  for (
    const [text, expected] of [
      ["ws://h/a", "ws://h/a"],
      ["ws://h/a?token=1#b", "ws://h/a"],
      ["wss://u:p@h/a?token=1", "wss://***@h/a"],
      ["http://u:p?x@h/a", "http://***"],
      ["u:p@h#a", "***@h"],
      ["h/a", "h/a"]
    ]
  ) {
    it(`redact of ${text} is ${expected}`, () => assert.strictEqual(redact(text), expected))
  }

  it.prop("redact is idempotent", [anyLocation], ([text]) => redact(redact(text)) === redact(text))

  it.prop(
    "keeps a text that holds neither a user, a query nor a fragment",
    [anyLocation],
    ([text]) => /[@?#]/.test(text) || redact(text) === text
  )
})

describe("a URL", () => {
  for (
    const [url, told, host, port] of [
      ["ws://u:p@example.com/a?b#c", "ws://example.com/a", "example.com", 80],
      ["wss://[::1]/", "wss://[::1]/", "::1", 443],
      ["https://example.com.:81/a@b/c", "https://example.com.:81/***@b/c", "example.com.", 81],
      ["http://127.0.0.1:443/@a", "http://127.0.0.1:443/***@a", "127.0.0.1", 443]
    ] as const
  ) {
    it(`shown is ${told}, hostOf ${host} and portOf ${port}`, () => {
      const parsed = new URL(url)
      assert.deepStrictEqual([shown(parsed), hostOf(parsed), portOf(parsed)], [told, host, port])
    })
  }
})
