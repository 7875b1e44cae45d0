import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Result, Schema } from "effect"
import { Extension, type Frame } from "effect-ws"
import { among } from "./support/properties.ts"

const extension = (name: string, ...parameters: ReadonlyArray<readonly [key: string, value?: string]>) => ({
  name,
  parameters: parameters.map(([key, value]) => ({ name: key, value }))
})

/** Headers, the extensions that they name, and how `format` writes those. */
const table: ReadonlyArray<
  readonly [header: string, extensions: ReadonlyArray<Extension.HeaderEntry>, formatted: string]
> = [
  ["foo", [extension("foo")], "foo"],
  ["foo, bar; baz=2", [extension("foo"), extension("bar", ["baz", "2"])], "foo, bar; baz=2"],
  ["deflate-stream", [extension("deflate-stream")], "deflate-stream"],
  [
    "mux; max-channels=4; flow-control, deflate-stream",
    [extension("mux", ["max-channels", "4"], ["flow-control"]), extension("deflate-stream")],
    "mux; max-channels=4; flow-control, deflate-stream"
  ],
  ["private-extension", [extension("private-extension")], "private-extension"],
  [
    "permessage-deflate; client_max_window_bits; server_max_window_bits=10, permessage-deflate",
    [
      extension("permessage-deflate", ["client_max_window_bits"], ["server_max_window_bits", "10"]),
      extension("permessage-deflate")
    ],
    "permessage-deflate; client_max_window_bits; server_max_window_bits=10, permessage-deflate"
  ],
  ["a;b", [extension("a", ["b"])], "a; b"],
  ["a;b=c;d", [extension("a", ["b", "c"], ["d"])], "a; b=c; d"],
  ["a;b=\"c\"", [extension("a", ["b", "c"])], "a; b=c"],
  ["a;b=\"\\c\\d\"", [extension("a", ["b", "cd"])], "a; b=cd"],
  ["a; b=\"c\"; d = \"e\" , f", [extension("a", ["b", "c"], ["d", "e"]), extension("f")], "a; b=c; d=e, f"],
  [" \ta \t;\t b \t=\t c \t,\t d ", [extension("a", ["b", "c"]), extension("d")], "a; b=c, d"],
  [",, a ,,b,", [extension("a"), extension("b")], "a, b"],
  ["a; x=1; x=2; x", [extension("a", ["x", "1"], ["x", "2"], ["x"])], "a; x=1; x=2; x"],
  ["b, a, b", [extension("b"), extension("a"), extension("b")], "b, a, b"],
  ["A; B=C", [extension("A", ["B", "C"])], "A; B=C"],
  ["!#$%&'*+-.^_`|~; 09=AZaz", [extension("!#$%&'*+-.^_`|~", ["09", "AZaz"])], "!#$%&'*+-.^_`|~; 09=AZaz"],
  [
    "__proto__; constructor=toString",
    [extension("__proto__", ["constructor", "toString"])],
    "__proto__; constructor=toString"
  ]
]

describe("parse (RFC 6455 §9.1)", () => {
  for (const [header, extensions] of table) {
    it(`reads ${header}`, () => {
      assert.deepStrictEqual(Extension.parse(header), extensions)
    })
  }

  for (
    const header of [
      "",
      " ",
      ",",
      ", ,",
      ";",
      "=",
      "\"",
      "\\",
      ";a",
      "=a",
      "a;",
      "a; ",
      "a;,b",
      "a;;b",
      "a;=",
      "a;=b",
      "a;b=",
      "a;b= ,c",
      "a;b=;c",
      "a;b==c",
      "a=b",
      "a b",
      "a;b c",
      "a;b=c d",
      "a;b=c=d",
      "a;\"b\"",
      "a;\"b\"=c",
      "\"a\"",
      "a;b=\"",
      "a;b=\"\"",
      "a;b=\"c",
      "a;b=\"c d\"",
      "a;b=\"c,d\"",
      "a;b=\"c;d\"",
      "a;b=\"c\\\"d\"",
      "a;b=\"c\\",
      "a;b=\"\\\\\"",
      "a;b=\"c\"d",
      "a;b=\"c\" d",
      "a;b=c\"d\"",
      "a;b=\"é\"",
      "é",
      "a;é",
      "a;b=é",
      "a/b",
      "a(b)",
      "a\r\nb",
      "a;b=c\0",
      "a, é",
      "a, ;b"
    ]
  ) {
    it(`returns undefined for ${JSON.stringify(header)}`, () => {
      assert.isUndefined(Extension.parse(header))
    })
  }

  const many = 256 * 1024
  for (const character of [" ", "\t", "\"", ",", ";", "\\", "=", "a", "é", "\0"]) {
    it(`reads a long run of ${JSON.stringify(character)} to its end`, () => {
      const run = character.repeat(many)
      const isName = character === "a"
      assert.deepStrictEqual(Extension.parse(run), isName ? [extension(run)] : undefined)
      assert.deepStrictEqual(Extension.parse(`x;y=${run}`), isName ? [extension("x", ["y", run])] : undefined)
      assert.deepStrictEqual(Extension.parse(`x;y="${run}`), undefined)
      assert.deepStrictEqual(Extension.parse(`x;y="${run}"`), isName ? [extension("x", ["y", run])] : undefined)
      const blank = " \t".includes(character)
      assert.deepStrictEqual(
        Extension.parse(`x${run};${run}y${run}=${run}z${run}`),
        blank
          ? [extension("x", ["y", "z"])]
          : isName
          ? [extension(`x${run}`, [`${run}y${run}`, `${run}z${run}`])]
          : undefined
      )
    })
  }

  it("reads many empty elements, and many escapes in a value, to their end", () => {
    assert.deepStrictEqual(Extension.parse(`${", ".repeat(many)}a`), [extension("a")])
    assert.deepStrictEqual(Extension.parse(`x;y="${"\\a".repeat(many)}"`), [extension("x", ["y", "a".repeat(many)])])
  })

  it("reads many extensions, and many parameters, to their end", () => {
    assert.strictEqual(Extension.parse("a,".repeat(500_000))?.length, 500_000)
    assert.strictEqual(Extension.parse(`a${";b=\"c\"".repeat(200_000)}`)?.[0].parameters.length, 200_000)
  })

  it.prop(
    "returns undefined, or extensions that format writes so that it reads the same",
    [Arbitrary.map(
      Arbitrary.array(
        Arbitrary.flatMap(
          among(true, true, true, false),
          (plain) =>
            plain ? among("a", "b1", ";", ",", "=", "\"", "\\", " ", "\t", "é", "\0") : Arbitrary.schema(Schema.String)
        )
      ),
      (parts) => parts.join("")
    )],
    ([header]) => {
      const parsed = Extension.parse(header)
      if (parsed === undefined) return
      assert.isAbove(parsed.length, 0)
      assert.deepStrictEqual(Extension.parse(Extension.format(parsed)), parsed)
    },
    { arbitrary: { runs: 200, size: 20 } }
  )
})

describe("format", () => {
  for (const [header, extensions, formatted] of table) {
    it(`writes the extensions of ${header}`, () => {
      assert.strictEqual(Extension.format(extensions), formatted)
    })
  }

  it("returns an empty header for no extensions", () => {
    assert.strictEqual(Extension.format([]), "")
  })

  const anyToken = Arbitrary.map(
    Arbitrary.array(among(..."abcXYZ0189!#$%&'*+.^_`|~-"), { minLength: 1 }),
    (characters) => characters.join("")
  )
  const anyExtension: Arbitrary.Arbitrary<Extension.HeaderEntry> = Arbitrary.map(
    Arbitrary.all([
      anyToken,
      Arbitrary.array(Arbitrary.map(
        Arbitrary.all([anyToken, anyToken, among(true, false)]),
        ([name, value, valued]) => ({ name, value: valued ? value : undefined })
      ))
    ]),
    ([name, parameters]) => ({ name, parameters })
  )

  it.prop(
    "writes a header that parse reads as the same extensions",
    [Arbitrary.array(anyExtension, { minLength: 1 })],
    ([extensions]) => {
      assert.deepStrictEqual(Extension.parse(Extension.format(extensions)), extensions)
    }
  )
})

/** An extension that accepts offers up to a level, with the offered level. */
const leveled = (name: string, reservedBits: number, highest: number): Extension.Extension => {
  const same = (frame: Frame.Frame) => frame
  const open = Effect.succeed({ encode: same, decode: same })
  const level = (parameters: Extension.Parameters) => Number(parameters[0]?.value ?? 0)
  return {
    name,
    reservedBits,
    offers: [extension(name, ["level", String(highest)]).parameters, []],
    accept: (parameters) => level(parameters) <= highest ? { parameters, open } : undefined,
    confirm: (parameters) =>
      level(parameters) <= highest ? open : `expected a level of at most ${highest}, got ${level(parameters)}`
  }
}

const a = leveled("a", 4, 3)
const b = leveled("b", 2, 3)
const alsoRsv1 = leveled("c", 4, 3)
const entriesOf = (negotiated: ReadonlyArray<Extension.Negotiated>) => negotiated.map(({ entry }) => entry)

describe("offer (RFC 6455 §9.1)", () => {
  it("returns each offer of each extension, in order", () => {
    assert.strictEqual(Extension.format(Extension.offer([a, b])), "a; level=3, a, b; level=3, b")
  })
})

describe("accept (RFC 6455 §9.1)", () => {
  const choices: ReadonlyArray<readonly [what: string, offered: string, accepted: string]> = [
    ["an offer of an extension that the server has", "a", "a"],
    ["no offer of an extension that the server does not have", "x, y", ""],
    ["offers in the client's order", "b, x, a", "b, a"],
    ["the first of several offers that the extension accepts", "a; level=9, a; level=2, a; level=1", "a; level=2"],
    ["each extension once", "a, a", "a"],
    ["one extension for each reserved bit", "c, a, b", "c, b"],
    ["the next extension with the same reserved bit if the first declines", "c; level=9, a, b", "a, b"]
  ]
  for (const [what, offered, accepted] of choices) {
    it(`accepts ${what}: ${offered}`, () => {
      const negotiated = Extension.accept([a, b, alsoRsv1], Extension.parse(offered)!)
      assert.strictEqual(Extension.format(entriesOf(negotiated)), accepted)
    })
  }

  it("returns the reserved bits of each extension", () => {
    const negotiated = Extension.accept([a, b], Extension.parse("b, a")!)
    assert.deepStrictEqual(negotiated.map(({ reservedBits }) => reservedBits), [2, 4])
  })
})

describe("confirm (RFC 6455 §9.1)", () => {
  it("returns the accepted extensions in the server's order", () => {
    const negotiated = Result.getOrThrow(Extension.confirm([a, b], Extension.parse("b; level=1, a")!))
    assert.strictEqual(Extension.format(entriesOf(negotiated)), "b; level=1, a")
  })

  const problems: ReadonlyArray<readonly [accepted: string, extension: string, problem: string]> = [
    ["x", "x", "expected an extension that the client offered"],
    ["b, a; level=4", "a", "expected a level of at most 3, got 4"],
    ["a, b, a", "a", "expected at most one extension for each name and reserved bit, got another"],
    ["a, c", "c", "expected at most one extension for each name and reserved bit, got another"]
  ]
  for (const [accepted, name, problem] of problems) {
    it(`rejects ${accepted}`, () => {
      const rejected = Result.flip(Extension.confirm([a, b, alsoRsv1], Extension.parse(accepted)!))
      assert.deepInclude(Result.getOrThrow(rejected), { _tag: "ExtensionMismatch", extension: name, problem })
    })
  }
})
