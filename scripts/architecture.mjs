/**
 * Holds the imports of src/ against the tables of ARCHITECTURE.md ("What may import what"), and the walls in
 * .oxlintrc.json against the same tables, so that an editor shows a forbidden import where it is written.
 *
 *   node scripts/architecture.mjs           writes the walls into .oxlintrc.json
 *   node scripts/architecture.mjs --check   fails if an import, a row or a wall is not as the tables say
 *
 * A row is a folder of src/internal or a public module of src/, what it is, and what it may import: folders in
 * backquotes, public modules by name, "(types)" behind what it imports only types of, and node:* for Node's modules.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join, posix } from "node:path"
import { fileURLToPath } from "node:url"
import { parseSync } from "oxc-parser"

const root = fileURLToPath(new URL("..", import.meta.url))
const node = "node:*"

/** The room of a file in src/: its folder in internal/, or, of a public module, its name. */
const roomOf = (file) => file.startsWith("internal/") ? file.split("/")[1] : file.replace(/\.ts$/, "")

const readTables = () => {
  const text = readFileSync(join(root, "ARCHITECTURE.md"), "utf8")
  const section = /^## What may import what\n([\s\S]*?)(?=^## )/m.exec(text)[1]
  return new Map(
    Array.from(section.matchAll(/^\| `?(?!folder\b)(\w+)`? \|[^|]*\| ([^|]*)\|$/gm), ([, room, imports]) => {
      const allowed = Array.from(
        imports.matchAll(/`?([\w:*]+)`?( \(types\))?/g),
        ([, name, types]) => [name, types !== undefined]
      )
      return [room, new Map(allowed)]
    })
  )
}

/** What each room imports: a map of names to whether they are only imported for types. */
const readImports = () => {
  const rooms = new Map()
  for (const file of readdirSync(join(root, "src"), { recursive: true })) {
    if (!file.endsWith(".ts") || file === "index.ts") continue
    const room = roomOf(file)
    if (!rooms.has(room)) rooms.set(room, new Map())
    const { module } = parseSync(file, readFileSync(join(root, "src", file), "utf8"))
    const exports = module.staticExports.flatMap(({ entries }) => entries.filter((entry) => entry.moduleRequest))
    const imports = [
      ...module.staticImports,
      ...exports.map((entry) => ({ moduleRequest: entry.moduleRequest, entries: [entry] }))
    ]
    for (const { entries, moduleRequest: { value } } of imports) {
      const name = value.startsWith(".")
        ? roomOf(posix.join(dirname(file), value))
        : value.startsWith("node:")
        ? node
        : room
      if (name === room) continue
      const types = entries.length > 0 && entries.every(({ isType }) => isType)
      const seen = rooms.get(room).get(name)
      rooms.get(room).set(name, { types: types && (seen?.types ?? true), files: [...seen?.files ?? [], file] })
    }
  }
  return rooms
}

const compare = (tables, imports) => {
  const problems = []
  for (const [room, found] of imports) {
    const allowed = tables.get(room)
    if (allowed === undefined) {
      problems.push(`${room} has no row`)
      continue
    }
    for (const [name, { files, types }] of found) {
      if (!allowed.has(name)) problems.push(`${room} may not import ${name}: ${files.join(", ")}`)
      else if (allowed.get(name) && !types) {
        problems.push(`${room} may import only types of ${name}: ${files.join(", ")}`)
      } else if (!allowed.get(name) && types) {
        problems.push(`${room} imports only types of ${name}: write "${name} (types)"`)
      }
    }
    for (const name of allowed.keys()) {
      if (!found.has(name)) problems.push(`${room} does not import ${name}: remove it from its row`)
    }
  }
  for (const room of tables.keys()) if (!imports.has(room)) problems.push(`${room} does not exist: remove its row`)
  return problems
}

const isFolder = (room) => /^[a-z]/.test(room)

/** For each folder of src/internal, what it may not import, as a rule of oxlint. */
const wallsOf = (tables, imports) => {
  const rooms = Array.from(imports.keys())
  return rooms.filter(isFolder).toSorted().map((room) => {
    const forbidden = rooms.filter((other) => other !== room && !tables.get(room)?.has(other)).toSorted()
    const folders = forbidden.filter(isFolder)
    const modules = forbidden.filter((other) => !isFolder(other))
    const patterns = [
      ...folders.length === 0 ? [] : [{ regex: `^\\.\\./(?:${folders.join("|")})/` }],
      ...modules.length === 0 ? [] : [{ regex: `^\\.\\./\\.\\./(?:${modules.join("|")})\\.ts$` }],
      ...tables.get(room)?.has(node) ? [] : [{ regex: "^node:" }]
    ].map(({ regex }) => ({ regex, message: "ARCHITECTURE.md, \"What may import what\", does not allow it." }))
    return {
      files: [`src/internal/${room}/**`],
      rules: { "no-restricted-imports": ["error", { patterns }] }
    }
  })
}

const tables = readTables()
const imports = readImports()
const configFile = join(root, ".oxlintrc.json")
const config = JSON.parse(readFileSync(configFile, "utf8"))
const isWall = ({ rules }) => "no-restricted-imports" in rules
const walls = wallsOf(tables, imports)
const overrides = [...config.overrides.filter((override) => !isWall(override)), ...walls]

if (process.argv.includes("--check")) {
  const problems = compare(tables, imports)
  if (JSON.stringify(config.overrides) !== JSON.stringify(overrides)) {
    problems.push("the walls in .oxlintrc.json differ from the tables: run node scripts/architecture.mjs")
  }
  for (const problem of problems) console.error(`ARCHITECTURE.md: ${problem}`)
  process.exit(problems.length === 0 ? 0 : 1)
}
writeFileSync(configFile, JSON.stringify({ ...config, overrides }, undefined, 2) + "\n")
