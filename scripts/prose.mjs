/**
 * Checks the prose of the project: comments, docstrings, messages, titles of tests, and the documentation. It fails on
 * the habits that CONTRIBUTING.md ("How we write") rules out, and prints the place and the rule of each.
 */
import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { parseSync } from "oxc-parser"

/** Words that hide the actor, or stand where a field term belongs: [pattern, what to write instead]. */
const banned = [
  [
    /\b(?:who(?:so)?ever|nobody|no one|somebody|anybody|everybody)\b/i,
    "name the actor: peer, server, handler, caller, fiber"
  ],
  [/\bfor ever\b/i, "write: without a limit, or: until the connection ends"],
  [/\bbe it\b/i, "write a plain condition: if ..., when ..."],
  [/\b(?:is|are|was|were) none\b/i, "write: there is no ..., or: invalid"],
  [/\bcannot be(?=[.,;:)]|$)/i, "write: invalid"],
  [/\b(?:has|have|had) to be\b/i, "write: must be"],
  [/\bto be had\b/i, "write: available"],
  [
    /\bwhat (?:becomes|comes)\b|\bbecomes of\b|\bcomes of it\b/i,
    "name the thing: the data, the next request, the result"
  ],
  [/\bso (?:much|many) (?:time|of|bytes|milliseconds)\b/i, "give the quantity its name"],
  [/\bwhose turn\b/i, "write: the next writer, the next reader"]
]

/** In code, `who` stands for code. In guides it may stand for people. */
const bannedInCode = [
  [/\bwho(?:m|se)?\b/i, "name the actor: peer, server, handler, caller, fiber"],
  [/(?:^|[.:;] )Answers? /, "write: Returns"]
]

const longestFirstSentence = 25

/** A title is read alone in a log: it does not begin in the middle of a sentence. */
const midSentence =
  /^(?:of|that|and|or|but|is|are|was|were|has|have|had|be|which|what|who|whose|whatever|to|than|as|so|nor)\b/

const problems = []
const report = (file, line, rule, text) => problems.push(`${file}:${line}: ${rule}: ${text.trim().slice(0, 100)}`)

const lineOf = (source, at) => source.slice(0, at).split("\n").length

const checkText = (file, line, text, rules) => {
  for (const [index, row] of text.split("\n").entries()) {
    // Code within prose is not prose.
    const prose = row.replace(/`[^`]*`/g, "``")
    for (const [pattern, rule] of rules) if (pattern.test(prose)) report(file, line + index, rule, row)
  }
}

/** The words of a docstring before its first full stop. */
const firstSentence = (comment) => {
  const text = comment.replace(/^\s*\*+ ?/gm, "").split(/\n\s*\n|\n@/)[0].replace(/\s+/g, " ").trim()
  return /^.*?[.:](?= |$)/.exec(text)?.[0] ?? text
}

const checkCode = (file, source) => {
  const inSource = file.startsWith("src/")
  const rules = inSource ? [...banned, ...bannedInCode] : banned
  const { comments, program } = parseSync(file, source)
  const exported = program.body.filter(({ type }) => type.startsWith("Export")).map(({ start }) => start)
  for (const { end, start, type, value } of comments) {
    // An example is checked by the compiler.
    checkText(
      file,
      lineOf(source, start),
      value.replace(/```[\s\S]*?```/g, (code) => code.replace(/[^\n]/g, "")),
      rules
    )
    if (!inSource || type !== "Block" || !value.startsWith("*")) continue
    if (!exported.some((at) => at > end && source.slice(end, at).trim() === "")) continue
    const sentence = firstSentence(value)
    if (sentence.split(" ").length > longestFirstSentence) {
      report(file, lineOf(source, start), `the first sentence has more than ${longestFirstSentence} words`, sentence)
    }
  }
  const visit = (node) => {
    if (node === null || typeof node !== "object") return
    if (Array.isArray(node)) return node.forEach(visit)
    if (node.type === "Literal" && typeof node.value === "string" && / /.test(node.value)) {
      checkText(file, lineOf(source, node.start), node.value, banned)
    } else if (node.type === "TemplateElement") {
      checkText(file, lineOf(source, node.start), node.value.cooked ?? "", banned)
    } else if (node.type === "CallExpression") checkTitle(file, source, node)
    for (const [key, child] of Object.entries(node)) if (key !== "parent") visit(child)
  }
  visit(program)
}

const checkTitle = (file, source, { arguments: [title], callee }) => {
  if (!file.endsWith(".test.ts")) return
  const name = callee.type === "MemberExpression" ? callee.object.name : callee.name
  if (name !== "it" || title?.type !== "Literal" || typeof title.value !== "string") return
  if (midSentence.test(title.value)) {
    report(
      file,
      lineOf(source, title.start),
      "a title is a sentence of its own, such as \"fails with ...\"",
      title.value
    )
  }
}

const checkGuide = (file, source) =>
  checkText(file, 1, source.replace(/```[\s\S]*?```/g, (code) => code.replace(/[^\n]/g, "")), banned)

const files = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], { encoding: "utf8" })
for (const file of files.trim().split("\n")) {
  if (/^(?:src|test|examples|bench|scripts)\/.*\.(?:ts|mjs)$/.test(file) && file !== "scripts/prose.mjs") {
    checkCode(file, readFileSync(file, "utf8"))
  } else if (/^(?!docs\/api\/|docs\/conformance).*\.md$/.test(file)) checkGuide(file, readFileSync(file, "utf8"))
}
for (const problem of problems) console.error(problem)
if (problems.length > 0) {
  console.error(`\n${problems.length} places to rewrite: see "How we write" in CONTRIBUTING.md`)
  process.exit(1)
}
