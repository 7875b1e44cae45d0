/** Which modules a bundler can put into a page: none of their imports, followed as far as they go, is of Node. */
import { readFileSync } from "node:fs"
import { dirname, join, relative } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, it } from "vitest"
import { importsOf } from "./support/imports.ts"

const root = fileURLToPath(new URL("..", import.meta.url))

const portable = [
  "Broker",
  "BrowserClient",
  "CloseCode",
  "Connection",
  "ConnectionError",
  "Extension",
  "Frame",
  "Handshake",
  "HandshakeError",
  "Heartbeat",
  "Message",
  "MessageClient",
  "MessageConnection",
  "ProtocolError",
  "Reconnecting",
  "Resume",
  "Socket",
  "Telemetry",
  "Topic",
  "Topics",
  "TopicClient",
  "TopicError",
  "Transport",
  "TypedConnection",
  "Wake"
]

const { imports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  readonly imports: Record<string, { readonly browser: string; readonly default: string }>
}

/** The source that a specifier leads to, under the condition "browser"; undefined for a package. */
const resolve = (specifier: string, from: string): string | undefined => {
  if (specifier.startsWith(".")) return join(dirname(from), specifier)
  if (!specifier.startsWith("#")) return undefined
  return join(root, imports[specifier].browser.replace(/^\.\/dist\/(.*)\.js$/, "src/$1.ts"))
}

/** The modules whose values a source imports. */
const valueImports = (file: string): Array<string> => {
  const { dynamic, values } = importsOf(file)
  return [...values, ...dynamic.map((offset) => `dynamic import at ${offset}`)]
}

/** The chains of imports that lead from a module to one of Node. */
const builtins = "src/internal/runtime/builtins.ts"

const chainsToNode = (entry: string): Array<string> => {
  const chains: Array<string> = []
  const seen = new Set<string>()
  const walk = (file: string, chain: ReadonlyArray<string>): void => {
    if (seen.has(file)) return
    seen.add(file)
    for (const specifier of valueImports(file)) {
      const next = resolve(specifier, file)
      const longer = [...chain, relative(root, next ?? specifier)]
      // It loads modules of Node without an import.
      if (longer.at(-1) === builtins) chains.push(longer.join(" > "))
      else if (next !== undefined) walk(next, longer)
      else if (!/^effect(?:\/|$)/.test(specifier)) chains.push([...chain, specifier].join(" > "))
    }
  }
  walk(entry, [relative(root, entry)])
  return chains
}

for (const name of portable) {
  it(`${name} imports no module of Node`, () => {
    assert.deepStrictEqual(chainsToNode(join(root, "src", `${name}.ts`)), [])
  })
}

it("a module that loads one of Node is found", () => {
  const file = "src/internal/runtime/platform/node.ts"
  assert.deepStrictEqual(chainsToNode(join(root, file)), [`${file} > ${builtins}`])
})
