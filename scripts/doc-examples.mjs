/**
 * The examples in docstrings and in the documentation, as files of their own in
 * build/doc-examples, so that they are type-checked and run like other code.
 *
 *   node scripts/doc-examples.mjs
 *
 * A line `expression // => value` becomes an assertion.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const target = join(root, "build/doc-examples")

const sources = () => [
  ...readdirSync(join(root, "src")).filter((name) => name.endsWith(".ts")).map((name) => join("src", name)),
  ...readdirSync(root).filter((name) => name.endsWith(".md")),
  ...readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md")).map((name) => join("docs", name))
]

/** The ts blocks of a file, and the heading that each is under. In a docstring, each line begins with an asterisk. */
const blocks = (text, inDocstrings) => {
  const plain = inDocstrings ? text.replaceAll(/^ *\* ?/gm, "") : text
  let heading = ""
  return Array.from(plain.matchAll(/^#+ (.+)$|^```(\w*)\n([\s\S]*?)^```/gm)).flatMap(([, title, language, code]) => {
    if (title !== undefined) heading = title
    return language === "ts" ? [{ heading, code }] : []
  })
}

const toModule = (block) => {
  let asserts = false
  const body = block.replaceAll(/^(\s*)(.+?) \/\/ => (.+)$/gm, (_line, indent, expression, value) => {
    asserts = true
    return `${indent}assert.deepEqual(${expression}, ${value})`
  })
  return { asserts, code: (asserts ? "import { assert } from \"@effect/vitest\"\n" : "") + body + "\nexport {}\n" }
}

/** Returns all examples: their code, and whether there is something to run, assertions or tests. */
export const readExamples = () =>
  sources().flatMap((source) =>
    blocks(readFileSync(join(root, source), "utf8"), source.endsWith(".ts")).map(({ code: block, heading }, i) => {
      const { asserts, code } = toModule(block)
      const name = `${source.replaceAll(/[/.]/g, "-")}-${i + 1}`
      const file = join(target, `${name}.ts`)
      return { name, file, source, heading, code, asserts, tests: block.includes("from \"@effect/vitest\"") }
    })
  )

/** Writes all examples to their files, and returns them. */
export const writeExamples = () => {
  rmSync(target, { recursive: true, force: true })
  mkdirSync(target, { recursive: true })
  const examples = readExamples()
  for (const { code, file } of examples) writeFileSync(file, code)
  return examples
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(`${writeExamples().length} examples`)
