/**
 * Bundles src into dist/node, which programs on Node import: few files, because the time of an import depends on the
 * number of modules, and on the number of names that they resolve. Browsers and bundlers take the modules that tsc compiles.
 *
 * Each public module is a file that re-exports from chunks in `internal`. All of them share the chunks, so a process has one copy of
 * each class.
 */
import { readdirSync, readFileSync } from "node:fs"
import { basename } from "node:path"
import { fileURLToPath } from "node:url"
import { rolldown } from "rolldown"

const root = fileURLToPath(new URL("..", import.meta.url))
const src = `${root}src/`

/**
 * The chunks. A chunk has the modules that its entries import, without those of earlier chunks, so chunks import
 * one way. With `isShared`, it has what all of its entries import. A module that only `import()` loads has a chunk of its own.
 */
const chunks = [
  { name: "connection", entries: ["Connection", "MessageConnection", "Message"] },
  { name: "handshake", entries: ["WebSocketClient", "WebSocketServer"], isShared: true },
  { name: "server", entries: ["WebSocketServer"] },
  { name: "reconnecting", entries: ["Reconnecting", "Resume", "Heartbeat", "Wake", "MessageClient"] },
  { name: "client", entries: ["WebSocketClient"] },
  { name: "browser", entries: ["BrowserClient"] },
  { name: "deflate", entries: ["PerMessageDeflate"] },
  { name: "socket", entries: ["Socket", "SocketServer"] },
  { name: "topics", entries: ["Topics", "TypedConnection"] },
  { name: "centrifuge", entries: ["TopicServer", "TopicClient"] },
  { name: "protobuf", entries: ["TopicProtobuf"] },
  { name: "redis", entries: ["RedisBroker"] },
  { name: "rpc", entries: ["RpcServerProtocol"] },
  { name: "testing", entries: ["Testing"] }
]

/** The files of public modules. They export what the module exports, and nothing that other chunks need. */
const entry = "\0entry:"
const entries = {
  name: "entries",
  resolveId: (id) => id.startsWith(entry) ? id : null,
  load(id) {
    if (!id.startsWith(entry)) return null
    const file = `${src}${id.slice(entry.length)}.ts`
    return id === `${entry}index` ? readFileSync(file, "utf8").replaceAll("\"./", `"${src}`) : `export * from "${file}"`
  }
}

/**
 * A module for each module of `effect` that src imports as a namespace. One chunk imports `effect/Effect`, and the others import
 * it from there: Node resolves a name again for each file that has it.
 */
const namespace = "effect-namespace:"
const namespaces = {
  name: "namespaces",
  resolveId: (id) => id.startsWith(namespace) ? id : null,
  load(id) {
    if (!id.startsWith(namespace)) return null
    const name = id.slice(namespace.length)
    const local = `${basename(name)}Module`
    return `import * as ${local} from "${name}"\nexport { ${local} }`
  },
  transform(code, id) {
    if (!id.startsWith(src)) return null
    const imports = /^import \* as (\w+) from "(effect\/(?:\w+\/)*(\w+))"/gm
    return { code: code.replace(imports, `import { $3Module as $1 } from "${namespace}$2"`), map: null }
  }
}

/**
 * The package has the sources, and maps name them. Texts, templates and regular expressions have escapes in place of characters
 * beyond ASCII: with one that is not Latin-1, V8 would keep a whole file in two bytes a character, and read it more slowly.
 */
const output = {
  name: "output",
  generateBundle(_, files) {
    for (const [name, file] of Object.entries(files)) {
      if (file.type === "chunk") {
        file.code = file.code.replace(/[^\0-\x7F]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
      }
      if (!name.endsWith(".js.map")) continue
      const map = JSON.parse(file.source)
      delete map.sourcesContent
      file.source = JSON.stringify(map)
    }
  }
}

/** Modules of `effect` that chunks use which do not import each other. The modules that `Connection` needs load them, too. */
const shared = ["effect/Array", "effect/Latch", "effect/Queue", "effect/Scope", "effect/Semaphore"]

/** The ids of the modules that an import of a public module loads. */
const reach = (infoOf, name) => {
  const seen = new Set()
  const walk = (id) => {
    if (seen.has(id)) return
    seen.add(id)
    for (const next of infoOf(id)?.importedIds ?? []) walk(next)
  }
  walk(`${src}${name}.ts`)
  return seen
}

/** The name of the chunk of each module, by id. */
const assign = (infoOf) => {
  const assigned = new Map()
  for (const { entries: names, isShared, name } of chunks) {
    const sets = names.map((module) => reach(infoOf, module))
    for (const id of sets.flatMap((set) => [...set])) {
      if (!assigned.has(id) && (isShared !== true || sets.every((set) => set.has(id)))) assigned.set(id, name)
    }
  }
  for (const name of shared) assigned.set(namespace + name, chunks[0].name)
  return assigned
}

/** Returns the files, without writing them. With a directory, writes them. */
export const bundleNode = async (dir) => {
  const names = readdirSync(src).filter((name) => name.endsWith(".ts")).map((name) => basename(name, ".ts"))
  const bundle = await rolldown({
    input: Object.fromEntries(names.map((name) => [name, entry + name])),
    platform: "node",
    external: /^(?:effect\/|redis$|protobufjs\/)/,
    resolve: { alias: { "#platform": `${src}internal/runtime/platform/node.ts` } },
    transform: { target: "es2023" },
    preserveEntrySignatures: "allow-extension",
    plugins: [entries, namespaces, output]
  })
  let assigned
  const options = {
    dir: dir ?? `${root}dist/node`,
    cleanDir: true,
    format: "esm",
    sourcemap: true,
    polyfillRequire: false,
    minifyInternalExports: false,
    comments: { legal: true, annotation: true, jsdoc: false },
    entryFileNames: "[name].js",
    chunkFileNames: "internal/[name].js",
    codeSplitting: {
      includeDependenciesRecursively: false,
      groups: [{
        debugName: "chunks",
        name: (id, graph) => (assigned ??= assign((module) => graph.getModuleInfo(module))).get(id) ?? null
      }]
    }
  }
  const written = await (dir === undefined ? bundle.generate(options) : bundle.write(options))
  await bundle.close()
  return written.output
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await bundleNode(`${root}dist/node`)
