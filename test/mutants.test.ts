import { assert, describe, it } from "@effect/vitest"
import { mutantsOf } from "../scripts/mutants.mjs"

/** The code of each mutant, in the order in which the generator visits the source. */
const changed = (source: string) => mutantsOf("a.ts", source).map(({ code }) => code)

describe("mutantsOf", () => {
  const cases: ReadonlyArray<readonly [string, ReadonlyArray<string>]> = [
    ["const a = b < c", ["const a = b <= c", "const a = b >= c"]],
    ["const a = b === c", ["const a = b !== c"]],
    ["const a = b & c", ["const a = b | c"]],
    ["const a = b && c", ["const a = b || c", "const a = b", "const a = c"]],
    ["const a = b ?? c", ["const a = b", "const a = c"]],
    ["const a = !b", ["const a = b"]],
    ["const a = true", ["const a = false"]],
    ["const a = 7", ["const a = 8", "const a = 6"]],
    ["const a = 0", ["const a = 1", "const a = (0 - 1)"]],
    ["const a = 1_000", ["const a = 2000", "const a = 0"]],
    ["const a = 0xff", ["const a = (0xff + 1)", "const a = (0xff - 1)"]],
    ["const a = 1n", ["const a = (1n + 1n)", "const a = (1n - 1n)"]],
    ["const a = \"b\"", ["const a = \"\""]],
    ["const a = \"\"", ["const a = \"mutated\""]],
    ["const a = b ? c : d", ["const a = true ? c : d", "const a = false ? c : d"]],
    ["if (a) b()", ["if (true) b()", "if (false) b()", "if (a) ;"]],
    ["a += b", [";", "a -= b"]],
    ["a++", [";", "a--"]],
    ["while (true) {}", ["while (false) {}"]],
    ["while (a) b()", ["while (false) b()", "while (a) ;"]],
    ["const a = b?.c", ["const a = b.c"]],
    ["const a = b?.[c]", ["const a = b[c]"]],
    ["const a = b?.(c)", ["const a = b(c)"]],
    ["const a = Math.min(b, c)", ["const a = Math.max(b, c)"]],
    ["const a = () => b", ["const a = () => undefined"]],
    ["function a() { return b }", ["function a() { return undefined }"]]
  ]
  for (const [source, expected] of cases) {
    it(`changes ${source}`, () => {
      assert.deepStrictEqual(changed(source), expected)
    })
  }

  const unchanged = [
    "import { a } from \"b\"",
    "export { a } from \"b\"",
    "export * from \"b\"",
    "type A = 1 | \"b\" | true",
    "interface A { readonly b: 1 }",
    "const a = b as 1",
    "const a = { _tag: \"B\" }",
    "const a = b.catchTag(\"B\", c)",
    "const a = b.catchTag([\"B\", \"C\"], d)",
    "const a: Readonly<Record<B, true>> = { c: true }",
    "throw new RangeError(\"b\")",
    "class A extends Data.TaggedError(\"A\")<{ readonly b: 1 }> {}",
    "class A extends B { constructor() { super(b) } }",
    "for (;;) {}",
    "const a = `b${c}`"
  ]
  for (const source of unchanged) {
    it(`leaves ${source} alone`, () => {
      assert.deepStrictEqual(changed(source), [])
    })
  }

  it("identifies a mutant by the names around it and the lines that change, wherever they are", () => {
    const source = "class A {\n  b() {\n    return c\n  }\n}\n"
    const identified = (text: string) =>
      mutantsOf("a.ts", text).map(({ after, before, within }) => ({ within, before, after }))
    assert.deepStrictEqual(identified(source), [{ within: "A.b", before: "return c", after: "return undefined" }])
    assert.deepStrictEqual(identified(`const moved = d\n\n${source}`), identified(source))
  })

  it("says on which line a mutant is", () => {
    assert.deepStrictEqual(mutantsOf("a.ts", "const a = b\nconst c = true\n").map(({ line }) => line), [2])
  })

  it("fails for a source that is no TypeScript", () => {
    assert.throws(() => mutantsOf("a.ts", "const"), /a\.ts/)
  })
})
