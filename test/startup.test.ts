/** What an import of a public module loads: modules that take long to load, only where a program needs them. */
import { existsSync, readdirSync } from "node:fs"
import { dirname, join, posix, relative } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, beforeAll, describe, it } from "vitest"
import { bundleNode, type OutputFile } from "../scripts/bundle-node.mjs"
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
      // An import of one reads each name that it exports: `internal/runtime/builtins` loads them without.
      if ((heavy.has(name) || specifier.startsWith("node:")) && !found.has(name)) found.set(name, longer)
      if (next !== undefined) walk(next, longer)
    }
  }
  walk(entry, relative(root, entry))
  return found
}

/** The heavy modules that the import of an entry loads. Any other entry loads none. */
const allowed: Record<string, ReadonlyArray<string>> = {
  RedisBroker: ["redis"],
  RpcServerProtocol: [
    "effect/Schema",
    "effect/http/HttpClient",
    "effect/http/HttpEffect",
    "effect/http/HttpRouter",
    "effect/http/HttpServerRequest",
    "effect/http/HttpServerResponse",
    "effect/socket/Socket"
  ],
  Socket: ["effect/Schema", "effect/socket/Socket"],
  SocketServer: ["effect/Schema", "effect/socket/Socket"],
  Testing: ["effect/Schema", "effect/http/HttpClient"],
  Topic: ["effect/Schema"],
  TopicClient: ["effect/Schema"],
  TopicProtobuf: ["protobufjs/minimal.js"],
  TopicServer: ["effect/Schema"],
  Topics: ["effect/Schema"],
  TypedConnection: ["effect/Schema"],
  index: ["effect/Schema", "effect/socket/Socket"]
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

describe("the bundle for Node", () => {
  const files = new Map<string, OutputFile>()
  beforeAll(async () => {
    for (const file of await bundleNode()) if (file.type === "chunk") files.set(file.fileName, file)
  })

  /** The files that an import of one loads, in `internal`, and the other modules that they import. */
  const load = (entry: string): { readonly chunks: Array<string>; readonly others: Array<string> } => {
    const seen = new Set<string>()
    const others: Array<string> = []
    const walk = (name: string): void => {
      if (seen.has(name)) return
      seen.add(name)
      for (const [, next] of files.get(name)!.code!.matchAll(/^(?:import|export) .* from "([^"]+)";$/gm)) {
        if (next.startsWith(".")) walk(posix.join(posix.dirname(name), next))
        else others.push(next)
      }
    }
    walk(entry)
    const chunks = [...seen].filter((name) => name !== entry).map((name) =>
      name.slice("internal/".length, -".js".length)
    )
    return { chunks: chunks.filter((name) => name !== "rolldown-runtime").toSorted(), others }
  }

  const connection = ["connection"]
  const handshake = ["connection", "handshake"]
  const reconnecting = ["connection", "reconnecting"]
  const server = ["connection", "handshake", "server"]
  const client = ["client", "connection", "handshake", "reconnecting"]
  const topics = ["connection", "topics"]
  const centrifuge = ["centrifuge", "connection", "reconnecting", "topics"]
  const loaded: Record<string, ReadonlyArray<string>> = {
    Broker: topics,
    BrowserClient: ["browser", "connection", "handshake", "reconnecting"],
    CloseCode: connection,
    Connection: connection,
    ConnectionError: connection,
    Extension: handshake,
    Frame: connection,
    Handshake: handshake,
    HandshakeError: connection,
    Heartbeat: reconnecting,
    Message: connection,
    MessageClient: reconnecting,
    MessageConnection: connection,
    PerMessageDeflate: ["connection", "deflate"],
    ProtocolError: connection,
    Reconnecting: reconnecting,
    RedisBroker: ["connection", "handshake", "reconnecting", "redis", "topics"],
    Resume: reconnecting,
    RpcServerProtocol: [...server, "rpc", "topics"],
    Socket: [...server, "socket"],
    SocketServer: [...server, "socket"],
    Telemetry: connection,
    Testing: [...client, "server", "testing"],
    Topic: topics,
    TopicClient: centrifuge,
    TopicError: centrifuge,
    TopicProtobuf: [...centrifuge, "protobuf"],
    TopicServer: centrifuge,
    Topics: topics,
    Transport: connection,
    TypedConnection: topics,
    Wake: reconnecting,
    WebSocketClient: client,
    WebSocketServer: server,
    index: ["browser", "centrifuge", ...client, "deflate", "server", "socket", "topics"]
  }

  for (const [entry, chunks] of Object.entries(loaded)) {
    it(`${entry} loads ${chunks.length === 1 ? "one chunk" : `${chunks.length} chunks`}`, () => {
      assert.deepStrictEqual(load(`${entry}.js`).chunks, chunks.toSorted())
    })
  }

  it("writes one file for each public module", () => {
    const names = [...files.values()].filter(({ isEntry }) => isEntry).map(({ fileName }) => fileName.slice(0, -3))
    assert.sameMembers(names, Object.keys(loaded))
  })

  it("imports each namespace of effect in one chunk only", () => {
    const namespaces = [...files.values()].flatMap(({ code }) =>
      code!.match(/^import \* as \S+ from "effect\/.*$/gm) ?? []
    )
    assert.isAbove(namespaces.length, 30)
    assert.sameMembers([...new Set(namespaces)], namespaces)
  })

  it("imports no module of Node, in any chunk of the index", () => {
    const { others } = load("index.js")
    assert.deepStrictEqual(others.filter((name) => !name.startsWith("effect/")), [])
  })

  it("writes only ASCII, which V8 keeps in one byte a character", () => {
    for (const [name, { code }] of files) assert.notMatch(code!, /[^\0-\x7F]/, name)
  })

  it("keeps the names of functions, for stack traces", () => {
    assert.match(files.get("internal/connection.js")!.code!, /^const ping = /m)
  })
})
