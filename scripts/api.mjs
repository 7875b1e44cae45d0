/**
 * The API reference, docs/api: a page a module, made of what is exported and of
 * its docstrings. Signatures are shown as they are written, because Effect's
 * classes and options are easier to read than what the type checker makes of them.
 *
 *   node scripts/api.mjs           writes it
 *   node scripts/api.mjs --check   fails where it is not what the docstrings say
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseSync } from "oxc-parser"
import { makeAnchors } from "./markdown.mjs"

const root = fileURLToPath(new URL("..", import.meta.url))
const target = join(root, "docs/api")

/** Modules in the order in which a newcomer meets them; one that is missing here is an error. */
const groups = {
  "Programs": [
    "WebSocketServer",
    "WebSocketClient",
    "BrowserClient",
    "MessageClient",
    "Reconnecting",
    "Resume",
    "Heartbeat",
    "Wake",
    "Connection",
    "MessageConnection",
    "TypedConnection",
    "Socket",
    "SocketServer",
    "RpcServerProtocol"
  ],
  "Topics": ["Topic", "Topics", "TopicServer", "TopicClient", "TopicProtobuf", "Broker", "RedisBroker"],
  "Around them": ["PerMessageDeflate", "Extension", "Telemetry", "Testing", "Transport"],
  "The protocol, without I/O": ["Frame", "Message", "Handshake", "CloseCode"],
  "Errors": ["ConnectionError", "HandshakeError", "ProtocolError", "TopicError"]
}

/** The modules that `index.ts` does not export. */
const byPath = new Set(["RedisBroker", "RpcServerProtocol", "Testing", "TopicProtobuf"])

// -- Reading ------------------------------------------------------------------

/** What a docstring says, and its tags. */
const readDocstring = (comment) => {
  const text = comment.value.replaceAll(/^ *\* ?/gm, "").trim()
  const tags = Object.fromEntries(Array.from(text.matchAll(/^@(\w+) *(.*)$/gm), ([, tag, value]) => [tag, value]))
  return { text: text.replaceAll(/^@\w+.*\n?/gm, "").trim(), tags }
}

/** Reads the exports of a module, or only those in `names`: what a public module exports from an internal one. */
const readModule = (name, names) => {
  const source = readFileSync(join(root, "src", `${name}.ts`), "utf8")
  const { comments, errors, program } = parseSync(`${name}.ts`, source)
  if (errors.length > 0) throw new Error(`${name}: ${errors[0].message}`)
  const docstrings = comments.filter(({ type, value }) => type === "Block" && value.startsWith("*"))
  /** The docstring right above. */
  const docstringOf = ({ start }) =>
    docstrings.findLast(({ end }) => end <= start && source.slice(end, start).trim() === "")
  const text = (start, end) => source.slice(start, end).trim()

  const signatureOfValue = (keyword, { id, init }) => {
    if (id.typeAnnotation !== null && id.typeAnnotation !== undefined) return `${keyword} ${text(id.start, id.end)}`
    return init.type === "ArrowFunctionExpression"
      ? `${keyword} ${id.name} = ${text(init.start, init.body.start).replace(/\s*=>\s*\(?$/, "")}`
      : `${keyword} ${id.name} = ${text(init.start, init.end)}`
  }

  const signatureOfMember = (member) => {
    const docstring = docstringOf(member)
    const comment = docstring === undefined ? "" : `  ${text(docstring.start, docstring.end)}\n`
    if (member.type === "MethodDefinition") {
      return `${comment}  ${text(member.start, member.value.body?.start ?? member.end)}`
    }
    const init = member.value?.type === "ArrowFunctionExpression" ? member.value.body : undefined
    return `${comment}  ${text(member.start, init?.start ?? member.end).replace(/\s*=>$/, "")}`
  }

  /** Of a class, what is not private, nor there already in what it extends. */
  const signatureOfClass = (node) => {
    const members = node.body.body.filter((member) =>
      member.accessibility !== "private" && !member.override && member.key.type !== "PrivateIdentifier"
    )
    const head = text(node.start, node.body.start).replace("/* @__PURE__ */ ", "")
    return members.length === 0 ? head : `${head} {\n${members.map(signatureOfMember).join("\n")}\n}`
  }

  const signaturesOf = (node) => {
    switch (node.type) {
      case "VariableDeclaration":
        return node.declarations.map((declared) => [declared.id.name, signatureOfValue(node.kind, declared)])
      case "TSDeclareFunction":
        return [[node.id.name, text(node.start, node.end)]]
      case "FunctionDeclaration":
        return [[node.id.name, text(node.start, node.body.start)]]
      case "ClassDeclaration":
        return [[node.id.name, signatureOfClass(node)]]
      case "TSInterfaceDeclaration":
      case "TSTypeAliasDeclaration":
        return [[node.id.name, text(node.start, node.end)]]
      default:
        throw new Error(`${name}: a ${node.type} is exported, which this does not know`)
    }
  }

  const entries = new Map()
  /** Of the exports of a module, one and the same. */
  const stabilities = new Set()
  /** What names of other modules mean here: [module, name]; of a whole module, there is no name. */
  const imported = new Map()
  for (const statement of program.body) {
    const from = /^\.\/(\w+)\.ts$/.exec(statement.source?.value ?? "")?.[1]
    if (statement.type === "ImportDeclaration" && from !== undefined) {
      for (const { imported: original, local } of statement.specifiers) imported.set(local.name, [from, original?.name])
    }
    if (statement.type !== "ExportNamedDeclaration") continue
    const internal = /^\.\/(internal\/.+)\.ts$/.exec(statement.source?.value ?? "")?.[1]
    if (internal !== undefined) {
      const reexported = statement.specifiers.map(({ local }) => local.name)
      for (const [entry, read] of readModule(internal, reexported).entries) entries.set(entry, read)
    }
    if (statement.declaration === null) continue
    const comment = docstringOf(statement)
    for (const [entry, signature] of signaturesOf(statement.declaration)) {
      if (names !== undefined && !names.includes(entry)) continue
      const same = entries.get(entry)
      // Overloads share the docstring of the first. The implementation of a function with overloads is not listed.
      if (same !== undefined && comment === undefined) {
        if (statement.declaration.type === "TSDeclareFunction") same.signature += `\n${signature}`
        continue
      }
      if (comment === undefined) throw new Error(`${name}.${entry} has no docstring`)
      const { tags, text: description } = readDocstring(comment)
      if (tags.internal !== undefined) continue
      if (tags.category === undefined) throw new Error(`${name}.${entry} has no category`)
      if (!/^(?:un)?stable$/.test(tags.stability)) throw new Error(`${name}.${entry} has no stability`)
      stabilities.add(tags.stability)
      // A type and a value of the same name are one entry.
      if (same === undefined) entries.set(entry, { category: tags.category, description, name: entry, signature })
      else {Object.assign(same, {
          description: `${same.description}\n\n${description}`,
          signature: `${same.signature}\n\n${signature}`
        })}
    }
  }
  const categories = new Map()
  for (const entry of entries.values()) {
    categories.set(entry.category, [...categories.get(entry.category) ?? [], entry])
  }
  if (stabilities.size > 1) throw new Error(`${name} has exports that are stable and others that are unstable`)
  const [stability] = stabilities
  return { name, entries, categories, imported, stability, description: readDocstring(docstrings[0]).text }
}

// -- Writing ------------------------------------------------------------------

const capital = (text) => text[0].toUpperCase() + text.slice(1)

/** The anchors of a page's entries. */
const anchorsOf = ({ categories, name }) => {
  const anchor = makeAnchors()
  anchor(name)
  return new Map(
    Array.from(categories).flatMap(([category, entries]) => {
      anchor(category)
      return entries.map((entry) => [entry.name, anchor(entry.name)])
    })
  )
}

const makePages = () => {
  const names = readdirSync(join(root, "src")).filter((file) => /^[A-Z]\w*\.ts$/.test(file)).map((file) =>
    file.slice(0, -3)
  )
  const modules = new Map(names.map((name) => [name, readModule(name)]))
  const listed = new Set(Object.values(groups).flat())
  const stray = names.filter((name) => !listed.has(name))
  if (stray.length > 0) throw new Error(`scripts/api.mjs does not say where ${stray} belongs`)
  const anchors = new Map(Array.from(modules, ([name, module]) => [name, anchorsOf(module)]))

  const linkTo = (module, entry, page) => {
    const anchor = entry === undefined ? undefined : anchors.get(module)?.get(entry)
    if (entry !== undefined && anchor === undefined) return undefined
    return (module === page ? "" : `${module}.md`) + (anchor === undefined ? "" : `#${anchor}`)
  }

  /** Where a name leads that is written in a module: `Name`, or `Module.name`. */
  const resolve = (written, page) => {
    const { imported, name } = modules.get(page)
    const [first, second] = written.split(".")
    if (second === undefined) {
      const [module, entry] = anchors.get(page).has(first) ? [name, first] : imported.get(first) ?? [first]
      return modules.has(module) && (entry !== undefined || module !== page) ? linkTo(module, entry, page) : undefined
    }
    return modules.has(first) ? linkTo(first, second, page) : undefined
  }

  /** Makes links of the names of what is exported, but for those of the entry itself, and those in blocks of code. */
  const linked = (text, page, self) =>
    text.split(/(^```[\s\S]*?^```$)/m).map((part) =>
      part.startsWith("```") ? part : part.replaceAll(/`([A-Za-z]\w*(?:\.\w+)?)`/g, (code, written) => {
        const link = written === self ? undefined : resolve(written, page)
        return link === undefined ? code : `[${code}](${link})`
      })
    ).join("")

  /** What else is to be read to know what a signature means. */
  const seeAlso = ({ name, signature }, page) => {
    const code = signature.replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*/g, "")
    const links = new Map()
    for (const [written] of code.matchAll(/\b[A-Z]\w*(?:\.[A-Z]\w*)?\b/g)) {
      const link = written === name ? undefined : resolve(written, page)
      if (link !== undefined) links.set(link, `[${written}](${link})`)
    }
    return links.size === 0 ? "" : `\nTypes: ${Array.from(links.values()).join(", ")}\n`
  }

  const pageOf = (module) => {
    const { categories, description, name, stability } = module
    const contents = Array.from(
      categories,
      ([category, entries]) =>
        `- ${capital(category)}: ${
          entries.map((entry) => `[${entry.name}](${linkTo(name, entry.name, name)})`).join(", ")
        }\n`
    )
    const sections = Array.from(
      categories,
      ([category, entries]) =>
        `\n## ${capital(category)}\n` +
        entries.map((entry) =>
          `\n### ${entry.name}\n\n\`\`\`ts\n${entry.signature}\n\`\`\`\n\n${
            linked(entry.description, name, entry.name)
          }\n` +
          seeAlso(entry, name)
        ).join("")
    )
    const path = byPath.has(name)
      ? `import * as ${name} from "effect-ws/${name}"`
      : `import { ${name} } from "effect-ws"`
    return `# ${name}\n\n\`\`\`ts\n${path}\n\`\`\`\n\nStability: ${stability}.\n\n${linked(description, name)}\n\n${
      contents.join("")
    }${sections.join("")}`
  }

  /** The first sentence. */
  const summaryOf = ({ description, name }) =>
    linked(/^[\s\S]*?[.:](?=\s|$)/.exec(description)[0].replaceAll(/\s+/g, " ").replace(/:$/, "."), name)
      .replaceAll("](#", `](${name}.md#`)

  const index = () =>
    "# API reference\n\nWhat each module exports, made from the docstrings in `src` by `npm run docs`.\n" +
    Object.entries(groups).map(([group, members]) =>
      `\n## ${group}\n` + members.map((name) => {
        const module = modules.get(name)
        const lines = Array.from(module.categories, ([category, entries]) =>
          `- ${capital(category)}: ${
            entries.map((entry) =>
              `[${entry.name}](${linkTo(name, entry.name)})`
            ).join(", ")
          }\n`)
        return `\n### [${name}](${name}.md)\n\n${summaryOf(module)}\n\n${lines.join("")}`
      }).join("")
    ).join("")

  return new Map([["README.md", index()], ...Array.from(modules, ([name, module]) => [`${name}.md`, pageOf(module)])])
}

const pages = makePages()
const written = () => new Map(readdirSync(target).map((file) => [file, readFileSync(join(target, file), "utf8")]))

if (process.argv.includes("--check")) {
  const found = written()
  const stale = [...new Set([...pages.keys(), ...found.keys()])].filter((file) => pages.get(file) !== found.get(file))
  if (stale.length > 0) {
    console.error(`docs/api is not what the docstrings say; npm run docs: ${stale.join(", ")}`)
    process.exitCode = 1
  }
} else {
  rmSync(target, { recursive: true, force: true })
  mkdirSync(target)
  for (const [file, page] of pages) writeFileSync(join(target, file), page)
  console.log(`docs/api: ${pages.size} pages`)
}
