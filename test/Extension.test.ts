import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Result, Schema } from "effect"
import { Extension, type Frame } from "effect-ws"
import { among } from "./support/properties.ts"

const extension = (name: string, ...parameters: ReadonlyArray<readonly [key: string, value?: string]>) => ({
  name,
  parameters: parameters.map(([key, value]) => ({ name: key, value }))
})

/** Headers, what they mean, and how they are written again. */
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
    it(`refuses ${JSON.stringify(header)}`, () => {
      assert.isUndefined(Extension.parse(header))
    })
  }

  const mebi = 1024 * 1024
  for (const character of [" ", "\t", "\"", ",", ";", "\\", "=", "a", "é", "\0"]) {
    it(`reads a mebibyte of ${JSON.stringify(character)} to its end`, () => {
      const many = character.repeat(mebi)
      const isName = character === "a"
      assert.deepStrictEqual(Extension.parse(many), isName ? [extension(many)] : undefined)
      assert.deepStrictEqual(Extension.parse(`x;y=${many}`), isName ? [extension("x", ["y", many])] : undefined)
      assert.deepStrictEqual(Extension.parse(`x;y="${many}`), undefined)
      assert.deepStrictEqual(Extension.parse(`x;y="${many}"`), isName ? [extension("x", ["y", many])] : undefined)
      const blank = " \t".includes(character)
      assert.deepStrictEqual(
        Extension.parse(`x${many};${many}y${many}=${many}z${many}`),
        blank
          ? [extension("x", ["y", "z"])]
          : isName
          ? [extension(`x${many}`, [`${many}y${many}`, `${many}z${many}`])]
          : undefined
      )
    })
  }

  it("reads a mebibyte of empty elements before one, and of escapes in a value", () => {
    assert.deepStrictEqual(Extension.parse(`${", ".repeat(mebi)}a`), [extension("a")])
    assert.deepStrictEqual(Extension.parse(`x;y="${"\\a".repeat(mebi)}"`), [extension("x", ["y", "a".repeat(mebi)])])
  })

  it("reads very many extensions, and very many parameters", () => {
    assert.strictEqual(Extension.parse("a,".repeat(500_000))?.length, 500_000)
    assert.strictEqual(Extension.parse(`a${";b=\"c\"".repeat(200_000)}`)?.[0].parameters.length, 200_000)
  })

  it.prop(
    "never throws",
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
    { arbitrary: { runs: 500, size: 20 } }
  )
})

describe("format", () => {
  for (const [header, extensions, formatted] of table) {
    it(`writes what was read from ${header}`, () => {
      assert.strictEqual(Extension.format(extensions), formatted)
    })
  }

  it("writes nothing for no extensions", () => {
    assert.strictEqual(Extension.format([]), "")
  })

  const anyToken = Arbitrary.schema(Schema.String.check(Schema.isPattern(/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/)))
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

  it.prop("is undone by parse", [Arbitrary.array(anyExtension, { minLength: 1 })], ([extensions]) => {
    assert.deepStrictEqual(Extension.parse(Extension.format(extensions)), extensions)
  })
})

/** An extension that takes offers up to a level, and answers with the level that it was offered. */
const leveled = (name: string, reservedBits: number, highest: number): Extension.Extension => {
  const same = (frame: Frame.Frame) => frame
  const open = Effect.succeed({ encode: same, decode: same })
  const level = (parameters: Extension.Parameters) => Number(parameters[0]?.value ?? 0)
  return {
    name,
    reservedBits,
    offers: [extension(name, ["level", String(highest)]).parameters, []],
    accept: (parameters) => level(parameters) <= highest ? { parameters, open } : undefined,
    confirm: (parameters) => level(parameters) <= highest ? open : `its level is over ${highest}`
  }
}

const a = leveled("a", 4, 3)
const b = leveled("b", 2, 3)
const alsoRsv1 = leveled("c", 4, 3)
const entries = (agreed: ReadonlyArray<Extension.Negotiated>) => agreed.map(({ entry }) => entry)

describe("offer (RFC 6455 §9.1)", () => {
  it("names each offer of each extension, in order", () => {
    assert.strictEqual(Extension.format(Extension.offer([a, b])), "a; level=3, a, b; level=3, b")
  })
})

describe("accept (RFC 6455 §9.1)", () => {
  const choices: ReadonlyArray<readonly [what: string, offered: string, accepted: string]> = [
    ["what it knows", "a", "a"],
    ["nothing that it does not know", "x, y", ""],
    ["in the client's order", "b, x, a", "b, a"],
    ["the first of several offers that it can take", "a; level=9, a; level=2, a; level=1", "a; level=2"],
    ["one extension once", "a, a", "a"],
    ["one extension for each reserved bit", "c, a, b", "c, b"],
    ["the next in line for a bit when the first declines", "c; level=9, a, b", "a, b"]
  ]
  for (const [what, offered, accepted] of choices) {
    it(`takes ${what}: ${offered}`, () => {
      const agreed = Extension.accept([a, b, alsoRsv1], Extension.parse(offered)!)
      assert.strictEqual(Extension.format(entries(agreed)), accepted)
    })
  }

  it("keeps the reserved bits with each", () => {
    const agreed = Extension.accept([a, b], Extension.parse("b, a")!)
    assert.deepStrictEqual(agreed.map(({ reservedBits }) => reservedBits), [2, 4])
  })
})

describe("confirm (RFC 6455 §9.1)", () => {
  it("takes what was accepted, in the server's order", () => {
    const agreed = Result.getOrThrow(Extension.confirm([a, b], Extension.parse("b; level=1, a")!))
    assert.strictEqual(Extension.format(entries(agreed)), "b; level=1, a")
  })

  const problems: ReadonlyArray<readonly [accepted: string, extension: string, problem: string]> = [
    ["x", "x", "it was not offered"],
    ["b, a; level=4", "a", "its level is over 3"],
    ["a, b, a", "a", "it was accepted before, or uses the reserved bits of one that was"],
    ["a, c", "c", "it was accepted before, or uses the reserved bits of one that was"]
  ]
  for (const [accepted, name, problem] of problems) {
    it(`refuses ${accepted}`, () => {
      const refused = Result.flip(Extension.confirm([a, b, alsoRsv1], Extension.parse(accepted)!))
      assert.deepInclude(Result.getOrThrow(refused), { _tag: "ExtensionMismatch", extension: name, problem })
    })
  }
})
