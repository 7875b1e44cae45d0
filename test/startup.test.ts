/** What an import of a public module loads: modules that take long to load, only where a program needs them. */
import { existsSync, readdirSync } from "node:fs"
import { dirname, join, relative } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, it } from "vitest"
import { importsOf } from "./support/imports.ts"

const root = fileURLToPath(new URL("..", import.meta.url))
const effect = join(root, "node_modules/effect/dist")

/** Modules that are large, or that load many others. */
const heavy = new Set([
  "effect",
  "effect/Config",
  "effect/Schema",
  "effect/http/HttpClient",
  "effect/http/HttpEffect",
  "effect/http/HttpRouter",
  "effect/http/HttpServerRequest",
  "effect/http/HttpServerResponse",
  "effect/socket/Socket",
  "node:http",
  "node:http2",
  "node:https",
  "node:tls",
  "node:zlib",
  "protobufjs/minimal.js",
  "redis"
])

/** The file of a module of `effect` or of this library; undefined for other packages and for Node's modules. */
const resolve = (specifier: string, from: string): string | undefined => {
  if (specifier.startsWith(".")) return join(dirname(from), specifier)
  if (specifier === "#platform") return join(root, "src/internal/runtime/platform/node.ts")
  if (specifier === "effect") return join(effect, "index.js")
  if (!specifier.startsWith("effect/")) return undefined
  const path = join(effect, specifier.slice("effect/".length))
  return existsSync(`${path}.js`) ? `${path}.js` : join(path, "index.js")
}

const nameOf = (specifier: string, file: string | undefined): string =>
  file?.startsWith(effect) === true
    ? relative(effect, file) === "index.js" ? "effect" : `effect/${relative(effect, file).replace(/\.js$/, "")}`
    : specifier

/** The heavy modules that an import of a file loads, each with the chain of imports that leads to it. */
const heavyImports = (entry: string): Map<string, string> => {
  const found = new Map<string, string>()
  const seen = new Set<string>()
  const walk = (file: string, chain: string): void => {
    if (seen.has(file)) return
    seen.add(file)
    for (const specifier of importsOf(file).values) {
      const next = resolve(specifier, file)
      const name = nameOf(specifier, next)
      const longer = `${chain} > ${specifier}`
      if (heavy.has(name) && !found.has(name)) found.set(name, longer)
      if (next !== undefined) walk(next, longer)
    }
  }
  walk(entry, relative(root, entry))
  return found
}

/** The heavy modules that the import of an entry loads. Any other entry loads none. */
const allowed: Record<string, ReadonlyArray<string>> = {
  PerMessageDeflate: ["node:zlib"],
  RedisBroker: ["redis"],
  RpcServerProtocol: [
    "effect/Schema",
    "effect/http/HttpClient",
    "effect/http/HttpEffect",
    "effect/http/HttpRouter",
    "effect/http/HttpServerRequest",
    "effect/http/HttpServerResponse",
    "effect/socket/Socket",
    "node:http",
    "node:https"
  ],
  Socket: ["effect/Schema", "effect/socket/Socket"],
  SocketServer: ["effect/Schema", "effect/socket/Socket", "node:http", "node:https"],
  Testing: ["effect/Schema", "effect/http/HttpClient", "node:http", "node:https", "node:tls"],
  Topic: ["effect/Schema"],
  TopicClient: ["effect/Schema"],
  TopicProtobuf: ["protobufjs/minimal.js"],
  TopicServer: ["effect/Schema"],
  Topics: ["effect/Schema"],
  TypedConnection: ["effect/Schema"],
  WebSocketClient: ["node:http", "node:https", "node:tls"],
  WebSocketServer: ["node:http", "node:https"],
  index: ["effect/Schema", "effect/socket/Socket", "node:http", "node:https", "node:tls", "node:zlib"]
}

for (const file of readdirSync(join(root, "src")).filter((name) => name.endsWith(".ts"))) {
  const entry = file.replace(/\.ts$/, "")
  const expected = allowed[entry] ?? []
  const only = expected.length === 0 ? "" : ` but ${expected.join(", ")}`
  it(`the import of ${entry === "index" ? "effect-ws" : `effect-ws/${entry}`} loads no heavy module${only}`, () => {
    const chains = heavyImports(join(root, "src", file))
    assert.deepStrictEqual([...chains.keys()].toSorted(), [...expected].toSorted(), [...chains.values()].join("\n"))
  })
}

it("finds a heavy module that a module loads over others", () => {
  const chains = heavyImports(join(root, "src/internal/node/httpRoute.ts"))
  assert.include([...chains.keys()], "effect/Schema")
})
