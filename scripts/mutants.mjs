/**
 * The mutants of a source file: small changes of its behaviour that a test ought to notice.
 * Types, imports, tags and the classes that a class extends are left alone.
 */
import { parseSync } from "oxc-parser"

const swapped = {
  "<": ["<=", ">="],
  "<=": ["<", ">"],
  ">": [">=", "<="],
  ">=": [">", "<"],
  "===": ["!=="],
  "!==": ["==="],
  "+": ["-"],
  "-": ["+"],
  "*": ["/"],
  "/": ["*"],
  "%": ["*"],
  "**": ["*"],
  "<<": [">>"],
  ">>": ["<<"],
  ">>>": ["<<"],
  "&": ["|"],
  "|": ["&"],
  "^": ["|"],
  "&&": ["||"],
  "||": ["&&"],
  "+=": ["-="],
  "-=": ["+="],
  "*=": ["/="],
  "/=": ["*="],
  "|=": ["&="],
  "&=": ["|="],
  "^=": ["|="],
  "<<=": [">>="],
  ">>=": ["<<="],
  ">>>=": ["<<="],
  "??=": ["="],
  "||=": ["="],
  "&&=": ["="],
  "++": ["--"],
  "--": ["++"]
}

const swappedMethods = {
  min: "max",
  max: "min",
  some: "every",
  every: "some",
  startsWith: "endsWith",
  endsWith: "startsWith",
  toLowerCase: "toUpperCase",
  toUpperCase: "toLowerCase"
}

/** Calls of these name something: a tag, a service, a symbol. */
const naming = new Set(["catchTag", "catchTags", "Reference", "Service", "TaggedError", "for", "fn"])

/** What a plain error says is for people; errors that programs tell apart have classes of their own. */
const plainErrors = new Set(["Error", "RangeError", "TypeError"])

/** Nodes of TypeScript that hold an expression; all others are types. */
const transparent = new Set([
  "TSAsExpression",
  "TSInstantiationExpression",
  "TSNonNullExpression",
  "TSSatisfiesExpression"
])

const isTag = (key) => key.type === "Identifier" && key.name === "_tag"
const isString = (node) =>
  node.type === "TemplateLiteral" || (node.type === "Literal" && typeof node.value === "string")
const isUndefined = (node) => node.type === "Identifier" && node.name === "undefined"

/** Collects the changes: each replaces what is from `start` to `end`. */
class Generator {
  changes = []
  /** Arguments of calls that name something, strings or lists of them; and values of records that can only be true. */
  named = new Set()
  names = []

  constructor(source) {
    this.source = source
  }

  text({ start, end }) {
    return this.source.slice(start, end)
  }

  replace({ start, end }, replacement) {
    this.changes.push({ start, end, replacement, within: this.names.join(".") })
  }

  /** Replaces the first `token` between two nodes. */
  swap(token, from, to, replacements) {
    const start = this.source.indexOf(token, from)
    if (start < 0 || start + token.length > to) return
    for (const replacement of replacements) this.replace({ start, end: start + token.length }, replacement)
  }

  visit(node, parent, key) {
    if (node.type.startsWith("TS") && !transparent.has(node.type)) return
    if (node.declare === true || node.type.startsWith("Import") || node.type === "ExportAllDeclaration") return
    this[node.type]?.(node, parent, key)
    const name = nameOf(node)
    if (name !== undefined) this.names.push(name)
    for (const childKey of Object.keys(node)) {
      if (skipped(node, childKey)) continue
      for (const child of [node[childKey]].flat()) {
        if (typeof child?.type === "string") this.visit(child, node, childKey)
      }
    }
    if (name !== undefined) this.names.pop()
  }

  /** A record of names: its type is `Record<Name, true>`, so that the compiler checks that it is complete. */
  VariableDeclarator({ id, init }) {
    const isRecord = id.typeAnnotation && /, true>+$/.test(this.text(id.typeAnnotation))
    for (const { value } of isRecord ? init?.properties ?? [] : []) this.named.add(value)
  }

  BinaryExpression({ left, operator, right }) {
    if (operator === "+" && (isString(left) || isString(right))) return
    this.swap(operator, left.end, right.start, swapped[operator] ?? [])
  }

  LogicalExpression(node) {
    const { left, operator, right } = node
    this.swap(operator, left.end, right.start, swapped[operator] ?? [])
    this.replace(node, this.text(left))
    this.replace(node, this.text(right))
  }

  UnaryExpression(node) {
    if (["!", "-", "~"].includes(node.operator)) this.replace(node, this.text(node.argument))
  }

  UpdateExpression({ argument, end, operator, prefix, start }, parent, key) {
    // A loop that counts the wrong way only costs time.
    if (parent.type === "ForStatement" && key === "update") return
    if (prefix) this.swap(operator, start, argument.start, swapped[operator])
    else this.swap(operator, argument.end, end, swapped[operator])
  }

  AssignmentExpression({ left, operator, right }) {
    if (operator === "+=" && isString(right)) return
    this.swap(operator, left.end, right.start, swapped[operator] ?? [])
  }

  condition({ test }) {
    if (test === null || test.type === "Literal") return
    this.replace(test, "true")
    this.replace(test, "false")
  }

  IfStatement = this.condition
  ConditionalExpression = this.condition

  /** A loop that never ends only costs time. */
  loop({ test }) {
    if (test !== null && test.type !== "Literal") this.replace(test, "false")
  }

  ForStatement = this.loop
  WhileStatement = this.loop
  DoWhileStatement = this.loop

  ExpressionStatement(node) {
    const isSuper = node.expression.type === "CallExpression" && node.expression.callee.type === "Super"
    if (!isSuper) this.replace(node, ";")
  }

  ReturnStatement({ argument }) {
    if (argument !== null && !isUndefined(argument)) this.replace(argument, "undefined")
  }

  ArrowFunctionExpression({ body, expression }) {
    if (expression && !isUndefined(body)) this.replace(body, "undefined")
  }

  MemberExpression({ computed, object, optional, property }, parent, key) {
    if (optional) this.swap("?.", object.end, property.start, [computed ? "" : "."])
    if (
      !computed && parent.type === "CallExpression" && key === "callee" && Object.hasOwn(swappedMethods, property.name)
    ) {
      this.replace(property, swappedMethods[property.name])
    }
  }

  CallExpression({ arguments: given, callee, end, optional }) {
    if (naming.has(callee.property?.name)) { for (const argument of given) this.named.add(argument) }
    if (optional) this.swap("?.", callee.end, end, [""])
  }

  Literal(node, parent, key) {
    const { value } = node
    if (typeof value === "boolean" && !this.named.has(node)) this.replace(node, String(!value))
    if (typeof value === "number") {
      for (const other of otherNumbers(node.raw, value)) this.replace(node, other)
    }
    if (typeof value === "bigint") {
      this.replace(node, `(${node.raw} + 1n)`)
      this.replace(node, `(${node.raw} - 1n)`)
    }
    if (typeof value !== "string" || this.named.has(node) || this.named.has(parent) || isName(parent, key)) return
    this.replace(node, value === "" ? `"mutated"` : `""`)
  }
}

/** The next numbers; for a limit, such as 1000, numbers that are far off: no test needs to know its last digit. */
const otherNumbers = (raw, value) => {
  const isDecimal = /^[\d_]+$/.test(raw)
  if (isDecimal && value >= 16) return [String(2 * value), "0"]
  return [isDecimal ? String(value + 1) : `(${raw} + 1)`, isDecimal && value > 0 ? String(value - 1) : `(${raw} - 1)`]
}

const nameOf = (node) => {
  const named =
    node.type === "VariableDeclarator" || node.type === "ClassDeclaration" || node.type === "FunctionDeclaration"
      ? node.id
      : node.type === "MethodDefinition" || node.type === "PropertyDefinition"
      ? node.key
      : undefined
  return named?.name
}

const skipped = (node, key) =>
  key === "superClass" || (key === "key" && node.computed !== true) || (key === "property" && node.computed !== true)

/** Whether a string names something, or is compared, which the comparison's own mutants stand for. */
const isName = (parent, key) => {
  switch (parent.type) {
    case "BinaryExpression":
    case "ExportNamedDeclaration":
    case "ExpressionStatement":
      return true
    case "SwitchCase":
      return key === "test"
    case "Property":
    case "PropertyDefinition":
      return isTag(parent.key)
    case "NewExpression":
      return plainErrors.has(parent.callee.name)
    default:
      return false
  }
}

/** As a list shows it: on one line, and not too long. */
const shown = (text) => {
  const line = text.replaceAll(/\s+/g, " ").trim()
  return line.length <= 160 ? line : `${line.slice(0, 100)} … ${line.slice(-50)}`
}

/**
 * All mutants of a source. `before` and `after` are the lines that change, and with `within`, the names around
 * them, they identify a mutant, wherever it moves.
 */
export const mutantsOf = (file, source) => {
  const { errors, program } = parseSync(file, source)
  if (errors.length > 0) throw new Error(`${file}: ${errors[0].message}`)
  const generator = new Generator(source)
  generator.visit(program)
  const seen = new Set()
  return generator.changes.flatMap(({ end, replacement, start, within }) => {
    const code = source.slice(0, start) + replacement + source.slice(end)
    if (code === source || seen.has(code)) return []
    seen.add(code)
    const lineStart = source.lastIndexOf("\n", start - 1) + 1
    const found = source.indexOf("\n", end)
    const lineEnd = found < 0 ? source.length : found
    return [{
      file,
      line: source.slice(0, start).split("\n").length,
      within,
      before: shown(source.slice(lineStart, lineEnd)),
      after: shown(source.slice(lineStart, start) + replacement + source.slice(end, lineEnd)),
      code
    }]
  })
}
