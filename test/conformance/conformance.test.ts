import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { type Case, isFor } from "./case.ts"
import { autobahnSections, sections } from "./cases/index.ts"
import { cell, passes } from "./report.ts"
import { fewMessages, run } from "./run.ts"
import { ownClient, ownHttp2Server, ownServer, type ServerSubject, type Subject } from "./subjects.ts"

const patience = 60_000

let servers: ReadonlyArray<ServerSubject>
beforeAll(async () => {
  servers = [await ownServer(), await ownHttp2Server()]
})
afterAll(() => Promise.all(servers.map((server) => server.stop())))

const subjects: ReadonlyArray<{
  readonly title: string
  readonly isFor: (test: Case) => boolean
  readonly subject: () => Subject
}> = [
  { title: "our server", isFor: (test) => isFor(test, "server"), subject: () => servers[0] },
  { title: "our server over HTTP/2", isFor: (test) => isFor(test, "server", true), subject: () => servers[1] },
  { title: "our client", isFor: (test) => isFor(test, "client"), subject: () => ownClient }
]

describe.concurrent.for(subjects)("$title", (tested) => {
  for (const { cases, id, title } of sections) {
    const own = cases.filter(tested.isFor)
    describe.skipIf(own.length === 0)(`${id} ${title}`, () => {
      for (const test of own) {
        it(`${test.id} ${test.about}`, async () => {
          const { ok, said } = await run(test, tested.subject(), patience, fewMessages)
          assert.isTrue(ok, said)
        }, 2 * patience)
      }
    })
  }
})

describe("the cases", () => {
  it("the cases include every one of the Autobahn TestSuite's sections", () => {
    assert.deepStrictEqual(
      autobahnSections.map(({ cases, id }) => [id, cases.length]),
      [["1", 16], ["2", 11], ["3", 7], ["4", 10], ["5", 20], ["6", 145], ["7", 37], ["9", 54], ["10", 1], ["12", 90], [
        "13",
        126
      ]]
    )
  })

  it("each case has a unique id in its section", () => {
    const ids = sections.flatMap(({ cases, id }) => cases.map((test) => [id, test.id]))
    assert.strictEqual(new Set(ids.map(([, id]) => id)).size, ids.length)
    assert.deepStrictEqual(ids.filter(([section, id]) => !id.startsWith(`${section}.`)), [])
  })
})

describe("docs/conformance.md", () => {
  it("the page has each case with its result: otherwise run npm run conformance", () => {
    const page = readFileSync(new URL("../../docs/conformance.md", import.meta.url), "utf8")
    const ids = new Set(sections.flatMap(({ cases }) => cases.map(({ id }) => id)))
    const rows = page.split("\n").map((line) => line.split(" | ")).filter(([first]) => ids.has(first.slice(2)))
    const expected = sections.flatMap(({ cases }) => cases).map((test) => {
      const verdicts = (["server", "client"] as const).map((role) =>
        isFor(test, role) ? cell(test, { role }, { ok: true, said: passes(test) }) : ""
      )
      return [`| ${test.id}`, test.about].concat(verdicts)
    })
    assert.deepStrictEqual(rows.map((row) => row.slice(0, 4)), expected)
  })
})
