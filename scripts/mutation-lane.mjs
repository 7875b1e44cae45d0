/**
 * One Vitest of scripts/mutation.mjs, in a process of its own, so that a mutant that never yields can be killed with
 * it. Gets `{ file, code, test }`, sends `{ failed }` at the first test of that file that fails, and `{ ready }` at the
 * end.
 */
import { resolve } from "node:path"
import { createVitest } from "vitest/node"

let mutated = { file: "", code: "" }

/** Serves the mutant instead of the file. */
const mutant = {
  name: "effect-ws:mutant",
  enforce: "pre",
  load: (id) => id === mutated.file ? mutated.code : undefined
}

let running
let failed = false

const fail = (what) => {
  if (failed) return
  failed = true
  process.send({ failed: `${running}: ${what}` })
}

const reporter = {
  onTestCaseResult: (test) => {
    if (test.result().state === "failed") fail(test.fullName)
  },
  onTestRunEnd: (modules, unhandled) => {
    if (unhandled.length > 0) fail("an error outside of the tests")
    if (!modules.every((module) => module.ok())) fail("the file as a whole")
  }
}

const vitest = await createVitest("test", {
  watch: false,
  project: ["unit", "sockets"],
  reporters: [reporter],
  bail: 1,
  fileParallelism: false,
  // The cache on disk would serve the file as it is.
  fsModuleCache: false,
  coverage: { enabled: false },
  // The results of a mutant are not those of the tests.
  cache: false
}, { plugins: [mutant] })
await vitest.standalone()

process.on("message", async ({ code, file, test }) => {
  const changed = file === undefined ? "" : resolve(file)
  for (const path of [mutated.file, changed]) vitest.invalidateFile(path)
  mutated = { file: changed, code }
  running = test
  failed = false
  const specifications = await vitest.globTestSpecifications([test])
  await vitest.runTestSpecifications(specifications.filter(({ moduleId }) => moduleId === resolve(test)))
  process.send({ ready: true })
})
process.on("disconnect", () => process.exit())
process.send({ ready: true })
