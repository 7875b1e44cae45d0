/**
 * Runs all cases with effect-ws and with ws, as servers and as clients, prints
 * what came of them, and writes it to docs/conformance.md.
 *
 *   npm run conformance
 *   npm run conformance -- --check   fails if the page says anything else, and does not write it
 *   npm run conformance -- --full    all messages of sections 12 and 13, 40 GB in all
 */
import { readFileSync, writeFileSync } from "node:fs"
import { type Case, isFor, isOwn, type Section } from "./case.ts"
import { sections } from "./cases/index.ts"
import { failures, markdown, type Results, summary } from "./report.ts"
import { type Effort, run, type Verdict } from "./run.ts"
import { ownClient, ownServer, type Subject, wsClient, wsServer } from "./subjects.ts"

/** How long a case may take, in milliseconds; many are only over then where a subject waits for more than it should. */
const patience = { short: 5_000, long: 120_000 }

const effort: Effort = {
  messages: Number.POSITIVE_INFINITY,
  bytes: process.argv.includes("--full") ? Number.POSITIVE_INFINITY : 4 * 1024 * 1024
}

/** The sections of long cases. They keep a core busy: beside each other, the time that each may take would be the others'. */
const oneByOne = new Set(["9", "12", "13"])

const runSection = async ({ cases, id }: Section, subject: Subject): Promise<ReadonlyArray<[Case, Verdict]>> => {
  const own = cases.filter((test) => isFor(test, subject.role) && !(isOwn(test) && !subject.own))
  if (oneByOne.has(id)) {
    const verdicts: Array<[Case, Verdict]> = []
    for (const test of own) verdicts.push([test, await run(test, subject, patience.long, effort)])
    return verdicts
  }
  return Promise.all(own.map(async (test) => [test, await run(test, subject, patience.short, effort)]))
}

const servers = [await ownServer(), await wsServer()] as const
const subjects = [servers[0], ownClient, servers[1], wsClient]
const results: Results = new Map()
for (const subject of subjects) {
  const verdicts = new Map<string, Verdict>()
  for (const section of sections) {
    for (const [test, verdict] of await runSection(section, subject)) verdicts.set(test.id, verdict)
  }
  results.set(subject, verdicts)
}
await Promise.all(servers.map((server) => server.stop()))

console.log(summary(sections, results))

const path = "docs/conformance.md"
const page = markdown(sections, results)
if (!process.argv.includes("--check")) writeFileSync(path, page)
else if (readFileSync(path, "utf8") !== page) {
  console.error(`${path} says something else`)
  process.exitCode = 1
}

const failed = failures(sections, results, (subject) => subject.own)
if (failed.length > 0) {
  console.error(failed.join("\n"))
  process.exitCode = 1
}
