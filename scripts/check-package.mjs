/**
 * Packs the library and uses it from a project of its own: types resolve, ESM
 * imports and CommonJS requires work, what is internal stays so, and a process
 * has one copy of each class. Node gets chunks, and bundlers for browsers get modules.
 */
import { execFileSync } from "node:child_process"
import { build } from "esbuild"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const own = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
const consumer = mkdtempSync(join(tmpdir(), "effect-ws-consumer-"))
const run = (command, ...args) =>
  execFileSync(command, args, { cwd: consumer, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] })

const files = {
  "package.json": JSON.stringify({ private: true, type: "module" }),
  "tsconfig.json": JSON.stringify({
    compilerOptions: {
      strict: true,
      exactOptionalPropertyTypes: true,
      module: "NodeNext",
      target: "ES2022",
      types: ["node"],
      noEmit: true,
      skipLibCheck: false
    }
  }),
  "consumer.ts": `
import { Effect, Layer, Stream } from "effect"
import { Connection, type HandshakeError, WebSocketClient, WebSocketServer } from "effect-ws"
import * as Frame from "effect-ws/Frame"
import * as Testing from "effect-ws/Testing"

export const Echo: Layer.Layer<never, WebSocketServer.ListenFailed | HandshakeError.InvalidOption> = WebSocketServer.serve(
  Effect.gen(function*() {
    const connection = yield* Connection.Connection
    yield* Stream.runForEach(connection.messages, connection.send)
  })
).pipe(Layer.provide(WebSocketServer.layer({ port: 0 })))

export const status: Effect.Effect<number> = WebSocketClient.connect("ws://127.0.0.1/").pipe(
  Effect.as(101),
  Effect.catchTag("HandshakeRejected", (error) => Effect.succeed(error.status)),
  Effect.orDie,
  Effect.scoped
)

export const inMemory: Layer.Layer<WebSocketServer.WebSocketServer | Testing.Network, HandshakeError.InvalidOption> = Testing.layer()

export const bytes: Uint8Array = Frame.encode(Frame.text("x"))

// @ts-expect-error: what is internal is not in the types
export const internal = WebSocketServer.makeWith

// @ts-expect-error: a message is a string, bytes, or a Message
export const wrong = (connection: Connection.Connection["Service"]) => connection.send(42)
`,
  "esm.mjs": `
import { Effect } from "effect"
import { Connection, WebSocketClient, WebSocketServer } from "effect-ws"
import * as Frame from "effect-ws/Frame"

const program = Effect.gen(function*() {
  const server = yield* WebSocketServer.make({ host: "127.0.0.1" })
  yield* server.serve(Effect.flatMap(Connection.Connection, (connection) => connection.send("hello, consumer")))
  const connection = yield* WebSocketClient.connect(server.url)
  const message = yield* connection.receive
  return message.text
}).pipe(Effect.scoped)

if (Frame.encode(Frame.text("x")).length !== 3) throw new Error("the subpath is another module")
console.log(await Effect.runPromise(program))
`,
  "cjs.cjs": `
const { Frame } = require("effect-ws")
if (require("effect-ws/Frame").encode !== Frame.encode) throw new Error("the subpath is another module")
console.log(Frame.makeDecoder({ role: "client" }).decode(Frame.encode(Frame.text("required"))).frames.length)
`,
  "internal.mjs": `
const paths = ["internal/protocol/masking", "internal/connection", "node/Frame", "node/internal/connection"]
const refused = (path) => import("effect-ws/" + path).then(() => false, (error) => error.code === "ERR_PACKAGE_PATH_NOT_EXPORTED")
console.log((await Promise.all(paths.map(refused))).join(" "))
`,
  "copies.mjs": `
import * as index from "effect-ws"
const different = []
for (const [name, members] of Object.entries(index)) {
  const module = await import("effect-ws/" + name)
  const names = new Set([...Object.keys(module), ...Object.keys(members)])
  for (const member of names) if (module[member] !== members[member]) different.push(name + "." + member)
}
console.log(Object.keys(index).length, import.meta.resolve("effect-ws").replace(/.*effect-ws\\//, ""), different.join(" "))
`,
  "page.js": `
export { connect } from "effect-ws/BrowserClient"
export { Connection } from "effect-ws"
`
}

/** Bundles the page, and returns the files of the library in it. */
const bundledFiles = async (options) => {
  const { metafile } = await build({
    absWorkingDir: consumer,
    entryPoints: ["page.js"],
    bundle: true,
    write: false,
    format: "esm",
    metafile: true,
    tsconfigRaw: {},
    ...options
  })
  const [{ inputs }] = Object.values(metafile.outputs)
  return Object.keys(inputs).filter((path) =>
    path.includes("node_modules/effect-ws/") && inputs[path].bytesInOutput > 0
  )
}

const expect = (what, actual, expected) => {
  if (actual !== expected) throw new Error(`${what}: expected ${expected}, got ${actual}`)
  console.log(`ok  ${what}`)
}

try {
  const [{ files: packed, filename }] = JSON.parse(
    execFileSync("npm", ["pack", "--json", "--pack-destination", consumer], {
      cwd: root,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"]
    })
  )
  const strangers = packed.map(({ path }) => path).filter((path) =>
    !/^(dist|src)\/|^(package\.json|README\.md|CHANGELOG\.md|LICENSE)$/.test(path)
  )
  expect("nothing is packed that a user does not need", strangers.join(" "), "")

  for (const [name, text] of Object.entries(files)) writeFileSync(join(consumer, name), text)
  const versions = ["effect", "typescript", "@types/node"].map((name) => `${name}@${own.devDependencies[name]}`)
  run(
    "npm",
    "install",
    "--no-audit",
    "--no-fund",
    "--ignore-scripts",
    "--loglevel=error",
    join(consumer, filename),
    ...versions
  )

  expect("types resolve", run("npx", "tsc", "--project", "tsconfig.json").trim(), "")
  expect("ESM imports", run(process.execPath, "esm.mjs").trim(), "hello, consumer")
  expect("CommonJS requires", run(process.execPath, "--no-warnings", "cjs.cjs").trim(), "1")
  expect("internal modules stay internal", run(process.execPath, "internal.mjs").trim(), "true true true true")
  const count = readFileSync(join(root, "src/index.ts"), "utf8").match(/^export \* as/gm).length
  expect(
    "each class has one copy, in the chunks",
    run(process.execPath, "copies.mjs").trim(),
    `${count} dist/node/index.js`
  )
  const page = await bundledFiles({ platform: "browser" })
  expect("a bundler for browsers gets modules", page.filter((path) => path.includes("/dist/node/")).join(" "), "")
  expect(
    "a bundler for browsers gets no module of Node",
    page.filter((path) => path.endsWith("builtins.js")).join(" "),
    ""
  )
  const program = await bundledFiles({ platform: "node" })
  expect("a bundler for Node gets chunks", program.filter((path) => !path.includes("/dist/node/")).join(" "), "")
} finally {
  rmSync(consumer, { recursive: true, force: true })
}
