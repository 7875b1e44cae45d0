/** The programs that tests start end with the process of the tests, also if that is killed and closes no Scope. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { bundle } from "../support/bundle.ts"
import { rawServer } from "../support/net.ts"
import { runProgram } from "../support/process.ts"
import { eventually } from "../support/resources.ts"

/** A process that starts a program, which connects to a port, ignores signals and runs until it is killed. */
const starter = (port: number) => `
import { Effect } from "effect"
import { runProgram } from "./test/support/process.ts"
const program = \`
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => {})
  require("node:net").connect(${port}, "127.0.0.1")
  setInterval(() => {}, 1000)
\`
Effect.runFork(Effect.scoped(Effect.andThen(runProgram(process.execPath, ["-e", program]), Effect.never)))
`

const directory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-ws-guard-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

describe("runProgram", () => {
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    it.live(`a program ends when ${signal} ends the process that has started it`, () =>
      Effect.gen(function*() {
        const { peers, port } = yield* rawServer(() => {})
        const { code } = yield* bundle({ contents: starter(port) }, { platform: "node" })
        const file = join(yield* directory, "starter.mjs")
        writeFileSync(file, code)
        const { child, ended } = yield* runProgram(process.execPath, [file])
        yield* eventually(() => peers.length === 1)
        child.kill(signal)
        assert.strictEqual(yield* ended, signal)
        yield* peers[0].ended
      }))
  }
})
