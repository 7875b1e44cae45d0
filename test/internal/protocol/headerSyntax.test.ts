import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Schema } from "effect"
import {
  combineHeaders,
  isFieldValue,
  isToken,
  isTokenCode,
  listIncludes,
  parseList,
  parseTokens,
  Scanner
} from "../../../src/internal/protocol/headerSyntax.ts"

describe("tokens (RFC 9110 §5.6.2)", () => {
  const delimiters = "\"(),/:;<=>?@[\\]{}"

  it("isToken allows all visible ASCII characters except the delimiters", () => {
    for (let code = 0; code < 0x300; code++) {
      const character = String.fromCharCode(code)
      const expected = code > 0x20 && code < 0x7f && !delimiters.includes(character)
      assert.strictEqual(isTokenCode(code), expected, `code ${code}`)
      assert.strictEqual(isToken(character), expected, `code ${code}`)
      assert.strictEqual(isToken(`a${character}`), expected, `a and code ${code}`)
      assert.strictEqual(isToken(`${character}z`), expected, `code ${code} and z`)
    }
  })

  it("isToken requires a character", () => {
    assert.isFalse(isToken(""))
  })
})

describe("field values (RFC 9110 §5.5)", () => {
  it("isFieldValue allows visible characters, spaces, tabs and the rest of Latin-1", () => {
    for (let code = 0; code < 0x300; code++) {
      const expected = code === 0x09 || (code >= 0x20 && code !== 0x7f && code <= 0xff)
      assert.strictEqual(isFieldValue(String.fromCharCode(code)), expected, `code ${code}`)
      assert.strictEqual(isFieldValue(`a${String.fromCharCode(code)}z`), expected, `code ${code} in between`)
    }
    assert.isFalse(isFieldValue("😀"))
    assert.isFalse(isFieldValue("\ud83d"))
  })

  it("isFieldValue allows an empty value", () => {
    assert.isTrue(isFieldValue(""))
  })
})

describe("Scanner", () => {
  it("Scanner reads tokens, delimiters and spaces in turn", () => {
    const scanner = new Scanner(" \t a-1 = b")
    assert.strictEqual(scanner.token(), "")
    scanner.skipSpace()
    assert.strictEqual(scanner.at, 3)
    assert.isFalse(scanner.skip("="))
    assert.strictEqual(scanner.token(), "a-1")
    assert.isFalse(scanner.skip("="))
    scanner.skipSpace()
    assert.isTrue(scanner.skip("="))
    assert.isFalse(scanner.skip("="))
    scanner.skipSpace()
    assert.isFalse(scanner.done)
    assert.strictEqual(scanner.token(), "b")
    assert.isTrue(scanner.done)
    assert.strictEqual(scanner.token(), "")
    assert.isFalse(scanner.skip("b"))
    scanner.skipSpace()
    assert.strictEqual(scanner.at, 10)
  })

  it("Scanner skips spaces and tabs, but no line breaks or other white space", () => {
    for (const other of ["\n", "\r", "\v", "\f", "\xa0"]) {
      const scanner = new Scanner(other)
      scanner.skipSpace()
      assert.strictEqual(scanner.at, 0)
    }
  })

  for (
    const [rest, value, at] of [
      ["\"", "", 1],
      ["ab\"", "ab", 3],
      ["a b\"; c", "a b", 4],
      ["a\\\"b\"", "a\"b", 5],
      ["\\\\\"", "\\", 3],
      ["\\a\"", "a", 3],
      ["", undefined, 0],
      ["ab", undefined, 2],
      ["ab\\", undefined, 3],
      ["ab\\\"", undefined, 4]
    ] as const
  ) {
    it(`Scanner reads the rest of a quoted string (RFC 9110 §5.6.4): ${rest}`, () => {
      const scanner = new Scanner(rest)
      assert.strictEqual(scanner.quoted(), value)
      assert.strictEqual(scanner.at, at)
    })
  }
})

describe("lists (RFC 9110 §5.6.1)", () => {
  for (
    const [value, expected] of [
      ["a", ["a"]],
      ["a,b", ["a", "b"]],
      ["a, b", ["a", "b"]],
      [" \ta\t ,\t b ", ["a", "b"]],
      [",a", ["a"]],
      ["a,", ["a"]],
      ["a , ", ["a"]],
      [", ,a,, ,b,,", ["a", "b"]],
      ["b,a,b", ["b", "a", "b"]],
      ["", undefined],
      [" ", undefined],
      [",", undefined],
      [" , ,", undefined],
      ["a b", undefined],
      ["a;b", undefined],
      ["a,(b)", undefined],
      ["\"a\"", undefined],
      ["a,é", undefined],
      ["a\r\nb", undefined]
    ] as const
  ) {
    it(`parseTokens returns ${JSON.stringify(expected)} for ${JSON.stringify(value)}`, () => {
      assert.deepStrictEqual(parseTokens(value), expected === undefined ? undefined : [...expected])
    })
  }

  it("parseList calls element at each position without a space or comma", () => {
    const places: Array<number> = []
    const parsed = parseList(" a,, bb,c", (scanner) => {
      places.push(scanner.at)
      return scanner.token()
    })
    assert.deepStrictEqual(parsed, ["a", "bb", "c"])
    assert.deepStrictEqual(places, [1, 5, 8])
  })

  it("parseList ends at the first invalid element", () => {
    const seen: Array<string> = []
    const parsed = parseList("a,b,c", (scanner) => {
      const token = scanner.token()
      seen.push(token)
      return token === "b" ? undefined : token
    })
    assert.isUndefined(parsed)
    assert.deepStrictEqual(seen, ["a", "b"])
  })

  it("parseList reads very long lists", () => {
    assert.strictEqual(parseTokens("a,".repeat(500_000))?.length, 500_000)
    assert.deepStrictEqual(parseTokens(`${",".repeat(1_000_000)}a`), ["a"])
    assert.deepStrictEqual(parseTokens(`${" ".repeat(1_000_000)}a`), ["a"])
    assert.isUndefined(parseTokens(`a${" ".repeat(1_000_000)}b`))
  })

  it.prop("parseTokens returns tokens or undefined for any text", [Arbitrary.schema(Schema.String)], ([value]) => {
    for (const token of parseTokens(value) ?? []) assert.isTrue(isToken(token))
  })
})

describe("listIncludes", () => {
  for (
    const [value, expected] of [
      ["upgrade", true],
      ["Upgrade", true],
      ["UPGRADE", true],
      ["keep-alive, Upgrade", true],
      ["Upgrade,keep-alive", true],
      ["close\t,\t Upgrade \t, x", true],
      [",,upgrade", true],
      [undefined, false],
      ["", false],
      ["close", false],
      ["upgrades", false],
      // Only spaces and tabs may stand around an element.
      ["\u00a0Upgrade", false],
      ["\u000bUpgrade", false],
      ["close, Upgrade\u00a0", false],
      ["no-upgrade", false],
      ["upgrade close", false],
      ["\"upgrade\"", false]
    ] as const
  ) {
    it(`listIncludes is ${expected} for upgrade in ${JSON.stringify(value)}`, () => {
      assert.strictEqual(listIncludes(value, "upgrade"), expected)
    })
  }
})

describe("combineHeaders (RFC 9110 §5.3)", () => {
  it("combineHeaders returns headers by lower-case name", () => {
    assert.deepStrictEqual(Object.entries(combineHeaders([["Host", "a"], ["X-TRACE", "B"], ["empty", ""]])), [
      ["host", "a"],
      ["x-trace", "B"],
      ["empty", ""]
    ])
    assert.deepStrictEqual(Object.entries(combineHeaders([])), [])
  })

  it("combineHeaders joins values with commas, and those of Cookie with semicolons (RFC 6265 §5.4)", () => {
    const headers = combineHeaders([
      ["Accept", "a"],
      ["cookie", "x=1"],
      ["ACCEPT", ""],
      ["Cookie", "y=2"],
      ["accept", "c, d"],
      ["set-cookie", "z=3"],
      ["Set-Cookie", "w=4"]
    ])
    assert.strictEqual(headers["accept"], "a, , c, d")
    assert.strictEqual(headers["cookie"], "x=1; y=2")
    assert.strictEqual(headers["set-cookie"], "z=3, w=4")
  })

  it("combineHeaders reads names of object properties, such as __proto__", () => {
    const names = ["__proto__", "constructor", "toString", "hasOwnProperty", "valueOf"]
    const headers = combineHeaders([...names, ...names].map((name) => [name, "1"] as const))
    for (const name of names) assert.strictEqual(headers[name.toLowerCase()], "1, 1", name)
    assert.isNull(Object.getPrototypeOf(headers))
    assert.isUndefined(combineHeaders([])["constructor"])
    assert.isUndefined(combineHeaders([])["__proto__"])
    assert.isUndefined(({} as Record<string, unknown>)["1"])
  })
})
