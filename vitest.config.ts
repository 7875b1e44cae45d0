import { readdirSync } from "node:fs"
import { availableParallelism } from "node:os"
import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

/** Vitest calls it when it prints failures, and Node has it from 21 on. */
const groupBy = <K, V>(values: Iterable<V>, keyOf: (value: V) => K): Map<K, Array<V>> => {
  const groups = new Map<K, Array<V>>()
  for (const value of values) groups.set(keyOf(value), [...groups.get(keyOf(value)) ?? [], value])
  return groups
}
if (!("groupBy" in Map)) Object.assign(Map, { groupBy })

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** The layers without I/O: tests take each of their branches. */
const pure =
  "src/{Frame,Message,CloseCode,Handshake,Extension,ProtocolError,internal/{protocol/*,handshake/*,runtime/buffers}}.ts"

const folders = readdirSync(source("./src/internal")).filter((folder) => folder !== "redis")

/** A project has the tests of one kind. `npm test` runs the first two, `npm run test:all` all but the peers. */
const project = (name: string, include: string, options: object = {}) => ({
  extends: true as const,
  test: { name, include: [include], ...options }
})

export default defineConfig({
  resolve: {
    alias: [
      { find: /^effect-ws$/, replacement: source("./src/index.ts") },
      { find: /^effect-ws\/(.*)$/, replacement: source("./src/$1.ts") },
      { find: "#platform", replacement: source("./src/internal/runtime/platform/node.ts") }
    ]
  },
  test: {
    // Ends a test that hangs. It is no measure of speed: machines are slow at times.
    testTimeout: 20_000,
    // Vitest leaves one processor idle otherwise; several tests wait for deadlines of real sockets.
    maxWorkers: Math.max(2, availableParallelism()),
    // Most objects of a test die young: fewer and cheaper collections, a tenth of the time of all tests.
    execArgv: ["--min-semi-space-size=32", "--max-semi-space-size=64"],
    setupFiles: ["test/support/setup.warnings.ts"],
    projects: [
      // One module each; test/ mirrors src/.
      project("unit", "test/{*,[A-Z]*/*,internal/**/*}.test.ts", { isolate: false }),
      // The whole over real sockets: limits, faults, attacks; ws as a peer.
      project("sockets", "test/sockets/**/*.test.ts", { isolate: false }),
      project("conformance", "test/conformance/*.test.ts"),
      project("fuzz", "test/fuzz/*.test.ts"),
      // Programs of their own: the examples, the guides, the soak.
      project("e2e", "test/e2e/*.test.ts", { globalSetup: "test/support/setup.e2e.ts" }),
      // Other peers that npm provides.
      project("interop", "test/interop/*.test.ts", { exclude: ["test/interop/*.peer.test.ts"] }),
      // Topics over real Redis servers.
      project("redis", "test/redis/*.test.ts", {
        globalSetup: "test/support/setup.e2e.ts",
        testTimeout: 120_000
      }),
      // Peers that npm does not provide.
      project("peers", "test/interop/*.peer.test.ts", {
        globalSetup: "test/support/setup.peers.ts",
        testTimeout: 60_000,
        hookTimeout: 60_000,
        fileParallelism: false
      })
    ],
    coverage: {
      include: ["src/**"],
      // Only names; what only tests with Redis reach.
      exclude: ["src/index.ts", "src/RedisBroker.ts", "src/internal/redis/**"],
      reporter: ["text"],
      // Each folder and the public modules have 95 %; layers without I/O have all.
      thresholds: {
        ...Object.fromEntries(
          ["*.ts", ...folders.map((folder) => `internal/${folder}/**`)].map((glob) => [`src/${glob}`, { branches: 95 }])
        ),
        [pure]: { perFile: true, branches: 100 }
      }
    }
  }
})
