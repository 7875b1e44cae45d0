import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Schema } from "effect"
import { Extension } from "effect-ws"
import { among } from "./support/properties.ts"

const extension = (name: string, ...parameters: ReadonlyArray<readonly [key: string, value?: string]>) => ({
  name,
  parameters: parameters.map(([key, value]) => ({ name: key, value }))
})

/** Headers, what they mean, and how they are written again. */
const table: ReadonlyArray<
  readonly [header: string, extensions: ReadonlyArray<Extension.Extension>, formatted: string]
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
  const anyExtension: Arbitrary.Arbitrary<Extension.Extension> = Arbitrary.map(
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
