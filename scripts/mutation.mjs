/**
 * Mutation testing: changes src/ in small ways, and fails if no test notices.
 *
 *   node scripts/mutation.mjs --sample            the sample that the gate runs: one of 300 mutants
 *   node scripts/mutation.mjs --sample --seed 7   another sample
 *   node scripts/mutation.mjs --sample --of 1000  a smaller sample
 *   node scripts/mutation.mjs --module 'pings$'   all mutants of the modules whose name matches
 *   node scripts/mutation.mjs                     all mutants: takes hours
 *   node scripts/mutation.mjs --equivalents       fails if a test kills a mutant that is listed as equivalent
 *   node scripts/mutation.mjs --verbose           prints also what kills each mutant
 *
 * The sample is stable: a mutant belongs to it if a hash of the seed, its file, its lines before and after, and the names
 * around them is small enough. So a change of the source replaces only the mutants of the lines that it changes, and the
 * sample grows with the source: about 150 mutants of 21,000, for which two processors take less than three minutes.
 *
 * A mutant runs against the tests that have its module's name first, then against those that import the module, the
 * nearest first. Those that `npm test` has passed since the last change do not run without a mutant again.
 * scripts/mutation-equivalents.json lists the mutants that behave as the original does, each with the
 * reason; they do not count.
 */
import { fork } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs"
import { availableParallelism } from "node:os"
import { basename, join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { parseSync } from "oxc-parser"
import { mutantsOf } from "./mutants.mjs"

process.chdir(fileURLToPath(new URL("..", import.meta.url)))

const seconds = () => Math.round(performance.now() / 1000)

const { values: options } = parseArgs({
  options: {
    sample: { type: "boolean", default: false },
    seed: { type: "string", default: "effect-ws" },
    of: { type: "string", default: "300" },
    module: { type: "string", default: "" },
    equivalents: { type: "boolean", default: false },
    verbose: { type: "boolean", default: false },
    help: { type: "boolean", default: false }
  }
})

if (options.help) {
  console.log(
    /\/\*\*\n([^]*?) \*\//.exec(readFileSync(fileURLToPath(import.meta.url), "utf8"))[1].replaceAll(/^ \* ?/gm, "")
  )
  process.exit()
}

/** How many of the mutants that are not equivalent may survive: in all, and in a module, where one more says little. */
const allowed = {
  inAll: (count) => 0.05 * count,
  inModule: (count) => Math.max(1, 0.15 * count)
}

/** Modules that only the tests with a Redis server reach. */
const isForRedis = (file) => /^src\/(RedisBroker\.ts|internal\/redis\/)/.test(file)

/** The projects unit and sockets of vitest.config.ts; the others are slow and not about one module. */
const kinds = /^test\/([^/]+|[A-Z][^/]*\/[^/]+|internal\/.+|sockets\/.+)\.test\.ts$/

/**
 * Which tests hold a module's promises, beside the tests of its name: names of test files or their folders, by the last
 * part of the module's name.
 */
const testedBy = {
  attempt: ["internal/node/dial"],
  attempts: ["BrowserClient"],
  browser: ["internal/runtime/platform"],
  BrowserClient: ["internal/browser/connect", "sockets/messageLaws"],
  connect: ["WebSocketClient", "BrowserClient", "sockets/agents"],
  connection: ["BrowserClient", "sockets/slowConsumers", "sockets/closing"],
  connectOptions: ["sockets/clientOptions", "internal/options"],
  decorate: ["Connection/contract"],
  decodedReader: ["BrowserClient"],
  destroySession: ["sockets/http2/clientClosing", "sockets/http2/closing"],
  exchange: ["internal/node/dial", "internal/node/proxy"],
  frameDecoder: ["Frame"],
  handshake: ["WebSocketClient", "sockets/redirects"],
  http1Upgrade: ["sockets/http", "sockets/attacks/handshake"],
  http2Exchange: ["sockets/clientOptions", "sockets/clientTls", "sockets/http2"],
  http2Sessions: ["sockets/http2"],
  http2StreamTransport: ["sockets/http2"],
  http2Upgrade: ["sockets/http2"],
  http2Windows: ["sockets/http2"],
  httpRoute: ["sockets/lifetimes", "sockets/limits", "sockets/upgrades"],
  input: ["Connection/input", "internal/reconnecting/sendBuffer"],
  instrument: ["Telemetry", "Reconnecting"],
  lazyRoute: ["WebSocketServer", "startup", "internal/node/httpRoute"],
  listen: ["WebSocketServer/listening", "sockets/http"],
  logging: ["Telemetry"],
  makeRequest: ["Handshake"],
  MessageClient: ["BrowserClient"],
  Message: ["internal/protocol/messageAssembler"],
  metrics: ["Telemetry"],
  node: ["internal/runtime/platform"],
  pendingSockets: ["sockets/upgrades"],
  protocolSwitch: ["sockets/http2"],
  reader: ["internal/connection/receiveQueue"],
  redirects: ["sockets/redirects"],
  relay: ["Connection/relay"],
  relayPort: ["Connection/relay", "Connection/contract"],
  resumption: ["Resume"],
  schema: ["internal/centrifuge"],
  sendFragments: ["Connection/fragments", "Connection/input"],
  sendQueue: ["sockets/slowConsumers"],
  session: ["sockets/lifetimes"],
  sessionKey: ["sockets/http2/clientSessions"],
  sessions: ["sockets/lifetimes", "sockets/limits", "Telemetry"],
  sharedDeflater: ["Connection/sharedBroadcast"],
  steadyClock: ["Reconnecting"],
  streamCount: ["sockets/http2"],
  streamUpgrade: ["sockets/http2"],
  Testing: ["internal/memory"],
  tls: ["sockets/clientTls", "WebSocketServer"],
  tracing: ["Telemetry"],
  upgradeSocket: ["sockets/upgrades", "sockets/attacks/handshake"],
  wakeSources: ["Wake"],
  WebSocketClient: ["Reconnecting", "sockets/clientOptions"],
  WebSocketServer: ["sockets/lifetimes", "sockets/limits", "sockets/overload"]
}

/** Likewise, for all modules of a folder of src/internal. */
const testedByFolder = {
  browser: ["BrowserClient"],
  centrifuge: ["TopicServer", "TopicClient", "sockets/topicClients"],
  connection: ["Connection"],
  deflate: ["PerMessageDeflate"],
  effectSocket: ["Socket"],
  handshake: ["Handshake"],
  http2: ["sockets/http2"],
  memory: ["Testing"],
  node: ["WebSocketClient", "WebSocketServer"],
  reconnecting: ["Reconnecting"],
  server: ["WebSocketServer"],
  topics: ["Topics", "Broker", "TopicServer"]
}

/** Further test files, of those that import a module, that a mutant must survive. */
const maxRelated = 4

const folderOf = (module) => /^internal\/(\w+)\//.exec(module)?.[1]

const moduleOf = (file) => file.replace(/^src\//, "").replace(/\.ts$/, "")

const filesIn = (folder) =>
  readdirSync(folder, { recursive: true }).map((file) => join(folder, file)).filter((file) => file.endsWith(".ts"))
    .toSorted()

// -- Which tests belong to a module -------------------------------------------

const { imports: hostImports } = JSON.parse(readFileSync("package.json", "utf8"))

/** What a file imports of this project; a namespace from "effect-ws" is the module of that name. */
const importsOf = (file) => {
  const { staticExports, staticImports } = parseSync(file, readFileSync(file, "utf8")).module
  const entries = [
    ...staticImports.flatMap((statement) =>
      statement.entries.map((entry) => ({ ...entry, from: statement.moduleRequest }))
    ),
    ...staticExports.flatMap((statement) => statement.entries.map((entry) => ({ ...entry, from: entry.moduleRequest })))
  ]
  return entries.flatMap(({ from, importName, isType }) => {
    if (isType || !from) return []
    if (from.value === "effect-ws") return [`src/${importName.name}.ts`]
    if (from.value.startsWith("effect-ws/")) return [`src/${from.value.slice("effect-ws/".length)}.ts`]
    if (from.value.startsWith("#")) {
      return [hostImports[from.value].default.replace("./dist/", "src/").replace(/js$/, "ts")]
    }
    return from.value.startsWith(".") ? [join(file, "..", from.value)] : []
  })
}

/** How many imports lead from a file to each file that it reaches. */
const distancesFrom = (file, imports) => {
  const distances = new Map([[file, 0]])
  for (const [from, distance] of distances) {
    for (const to of imports.get(from) ?? []) if (!distances.has(to)) distances.set(to, distance + 1)
  }
  return distances
}

const nearestTo = (source) => (a, b) => a.distances.get(source) - b.distances.get(source) || a.size - b.size

/** Makes the function that lists the test files of a source file. */
const makeTestsOf = () => {
  const imports = new Map([...filesIn("src"), ...filesIn("test")].map((file) => [file, importsOf(file)]))
  const tests = filesIn("test").filter((file) => kinds.test(file))
    .map((file) => ({ file, size: statSync(file).size, distances: distancesFrom(file, imports) }))
  const filesOf = (name) => tests.map(({ file }) => file).filter((file) => isNamed(file, name))
  return (source) => {
    const module = moduleOf(source)
    const names = [module, ...testedBy[basename(module)] ?? [], ...testedByFolder[folderOf(module)] ?? []]
    const first = [...new Set(names.flatMap(filesOf))]
    const reaching = tests.filter(({ distances, file }) => distances.has(source) && !first.includes(file))
    return [...first, ...reaching.toSorted(nearestTo(source)).slice(0, maxRelated).map(({ file }) => file)]
  }
}

const isNamed = (file, name) => file === `test/${name}.test.ts` || file.startsWith(`test/${name}/`)

const checkNames = () => {
  const modules = filesIn("src").map(moduleOf)
  const names = new Set(modules.map((module) => basename(module)))
  const folders = new Set(modules.map(folderOf))
  const tests = filesIn("test")
  const missing = [
    ...Object.keys(testedBy).filter((name) => !names.has(name)),
    ...Object.keys(testedByFolder).filter((folder) => !folders.has(folder)),
    ...[...Object.values(testedBy), ...Object.values(testedByFolder)].flat().filter((name) =>
      !tests.some((file) => isNamed(file, name))
    )
  ]
  if (missing.length > 0) throw new Error(`testedBy names modules or tests that do not exist: ${missing.join(", ")}`)
}

// -- Which mutants run --------------------------------------------------------

const keyOf = ({ after, before, file, within }) => JSON.stringify([file, within, before, after])

const readEquivalents = (mutants) => {
  const listed = JSON.parse(readFileSync("scripts/mutation-equivalents.json", "utf8"))
  const keys = new Set(mutants.map(keyOf))
  const stale = listed.filter((entry) => !keys.has(keyOf(entry)))
  if (stale.length > 0) {
    console.error("scripts/mutation-equivalents.json lists mutants that no longer exist; remove or correct:")
    for (const entry of stale) console.error(JSON.stringify(entry, undefined, 2))
    process.exit(1)
  }
  return new Set(listed.map(keyOf))
}

/** A number from 0 to 1 for each mutant. Those that look the same, because a line is there twice, are counted. */
const makeRank = () => {
  const occurrences = new Map()
  return (mutant) => {
    const key = keyOf(mutant)
    const occurrence = occurrences.get(key) ?? 0
    occurrences.set(key, occurrence + 1)
    return createHash("sha256").update(JSON.stringify([options.seed, key, occurrence])).digest().readUInt32BE() /
      2 ** 32
  }
}

const sample = (mutants) => {
  const rank = makeRank()
  return mutants.filter((mutant) => rank(mutant) * Number(options.of) < 1)
}

const byFile = (mutants) => {
  const files = new Map()
  for (const mutant of mutants) files.set(mutant.file, [...files.get(mutant.file) ?? [], mutant])
  return files
}

// -- Running them -------------------------------------------------------------

/** A process of scripts/mutation-lane.mjs, and what it has started; replaced after a mutant that was killed. */
class Lane {
  start() {
    this.process = fork("scripts/mutation-lane.mjs", {
      detached: true,
      stdio: ["ignore", "ignore", options.verbose ? "inherit" : "ignore", "ipc"]
    })
    return this.untilReady(60_000)
  }

  /** The first test of a file that fails with the mutant, if one does within `limit` milliseconds, or "no end". */
  async firstFailure(mutant, test, limit) {
    if (this.process === undefined && await this.start() !== undefined) {
      throw new Error("Vitest does not start: see what it prints with --verbose")
    }
    const failure = this.untilReady(limit)
    this.process.send({ file: mutant?.file, code: mutant?.code, test })
    return failure
  }

  untilReady(limit) {
    return new Promise((resolve) => {
      let failure
      let timer
      const { process } = this
      const end = () => {
        clearTimeout(timer)
        process.removeAllListeners()
        resolve(failure)
      }
      const kill = (reason) => {
        failure ??= reason
        this.kill()
        end()
      }
      const allow = (millis) => {
        clearTimeout(timer)
        timer = setTimeout(() => kill("no end"), millis)
      }
      allow(limit)
      process.on("exit", () => kill("the process ended"))
      process.on("message", ({ failed }) => {
        if (failed === undefined) return end()
        failure = failed
        allow(teardownLimit)
      })
    })
  }

  kill() {
    try {
      if (this.process !== undefined) process.kill(-this.process.pid, "SIGKILL")
    } catch {
      // All of it has ended.
    }
    this.process = undefined
  }
}

/** How long a test file with a test that failed may take to end, in milliseconds. */
const teardownLimit = 3000

const lanes = Array.from({ length: Math.min(2, availableParallelism()) }, () => new Lane())
process.on("exit", () => lanes.forEach((lane) => lane.kill()))
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1))

/**
 * The test files that the last run of Vitest passed, with their durations in milliseconds, from Vitest's cache: those
 * that ran after the last change. Any others run once without a mutant.
 */
const lastResults = () => {
  const changed = Math.max(...[...filesIn("src"), ...filesIn("test")].map((file) => statSync(file).mtimeMs))
  const folder = "node_modules/.vite/vitest"
  const caches = existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name, "results.json")) : []
  const files = caches.filter((cache) => existsSync(cache)).flatMap((cache) => {
    const { projects } = JSON.parse(readFileSync(cache, "utf8"))
    return Object.values(projects ?? {}).flatMap((project) => Object.entries(project.files ?? {}))
  })
  return files.filter(([, { duration, failed, lastRun }]) => !failed && duration > 0 && lastRun > changed)
    .map(([file, { duration }]) => [file, duration])
}

/** How long each test file takes without a mutant, in milliseconds. */
const durations = new Map(lastResults())

/** The test files that fail without a mutant, with the first test that does: they judge no mutant. */
const broken = new Map()

const measure = async (lane, test) => {
  const began = performance.now()
  const failure = await lane.firstFailure(undefined, test, 120_000)
  if (failure === undefined) durations.set(test, performance.now() - began)
  else {
    broken.set(test, failure)
    console.error(`fails without a mutant, and judges none: ${failure}`)
  }
}

const judge = async (lane, mutant, tests) => {
  for (const test of tests) {
    if (!durations.has(test) && !broken.has(test)) await measure(lane, test)
    if (broken.has(test)) continue
    const failure = await lane.firstFailure(mutant, test, 10_000 + 4 * durations.get(test))
    if (failure !== undefined) return failure
  }
  return undefined
}

/** Lanes take from both ends, so that they seldom measure the same tests. */
const judgeAll = async (mutants) => {
  const testsOf = makeTestsOf()
  const waiting = [...mutants]
  const verdicts = new Map()
  const progress = setInterval(() => {
    const survived = [...verdicts.values()].filter((killer) => killer === undefined).length
    console.log(`${verdicts.size} of ${mutants.length} mutants after ${seconds()} s; ${survived} survived`)
  }, 15_000)
  await Promise.all(lanes.map(async (lane, i) => {
    for (;;) {
      const mutant = i % 2 === 0 ? waiting.shift() : waiting.pop()
      if (mutant === undefined) return lane.kill()
      const from = performance.now()
      const killer = await judge(lane, mutant, testsOf(mutant.file))
      verdicts.set(mutant, killer)
      if (options.verbose) console.log(`${Math.round(performance.now() - from)} ms`)
      if (options.verbose || (killer === undefined && !options.equivalents)) console.log(describe(mutant, killer))
    }
  }))
  clearInterval(progress)
  return verdicts
}

// -- The report ---------------------------------------------------------------

const describe = ({ after, before, file, line, within }, killer) =>
  `${
    killer === undefined ? "survived" : `killed by ${killer}`
  }: ${file}:${line} in ${within}\n- ${before}\n+ ${after}\n`

const percent = (part, whole) => whole === 0 ? "" : `${(100 * part / whole).toFixed(1)} %`

/** Prints a row for each module, and answers with those of which too many survive. */
const report = (verdicts, equivalents) => {
  const rowOf = (name, mutants, allowedOf) => {
    const judged = mutants.filter((mutant) => verdicts.has(mutant)).length
    const killed = mutants.filter((mutant) => verdicts.get(mutant) !== undefined).length
    const survived = judged - killed
    return {
      cells: [name, judged, killed, survived, mutants.length - judged, percent(killed, judged)].map(String),
      failed: survived > allowedOf(judged)
    }
  }
  const all = [...verdicts.keys(), ...equivalents]
  const rows = [...byFile(all)].map(([file, mutants]) => rowOf(moduleOf(file), mutants, allowed.inModule))
  rows.sort(({ cells: [a] }, { cells: [b] }) => a < b ? -1 : 1)
  rows.push(rowOf("all", all, allowed.inAll))
  const table = [["module", "mutants", "killed", "survived", "equivalent", ""], ...rows.map(({ cells }) => cells)]
  const widths = table[0].map((_, column) => Math.max(...table.map((cells) => cells[column].length)))
  for (const [name, ...cells] of table) {
    console.log([name.padEnd(widths[0]), ...cells.map((cell, i) => cell.padStart(widths[i + 1]))].join("  "))
  }
  return rows.filter(({ failed }) => failed).map(({ cells: [name] }) => name)
}

// -- All of it ----------------------------------------------------------------

checkNames()
const everything = filesIn("src").filter((file) => !isForRedis(file)).flatMap((file) =>
  mutantsOf(file, readFileSync(file, "utf8"))
)
const listed = readEquivalents(everything)
const isEquivalent = (mutant) => listed.has(keyOf(mutant))
const chosen = (options.sample ? sample(everything) : everything)
  .filter(({ file }) => new RegExp(options.module).test(moduleOf(file)))

if (options.equivalents) {
  const verdicts = await judgeAll(chosen.filter(isEquivalent))
  const killed = [...verdicts].filter(([, killer]) => killer !== undefined)
  for (const [mutant, killer] of killed) console.log(`listed as equivalent, but ${describe(mutant, killer)}`)
  process.exit(killed.length === 0 ? 0 : 1)
}

const verdicts = await judgeAll(chosen.filter((mutant) => !isEquivalent(mutant)))
const failures = report(verdicts, chosen.filter(isEquivalent))
console.log(`seed ${options.seed}, ${seconds()} s`)
if (failures.length > 0) console.error(`too many survive: ${failures.join(", ")}`)
if (broken.size > 0) console.error(`fail without a mutant: ${[...broken.keys()].join(", ")}`)
process.exit(failures.length === 0 && broken.size === 0 ? 0 : 1)
