/**
 * Runs all cases with effect-ws and with ws, as servers and as clients, prints
 * the results, and writes them to docs/conformance.md.
 *
 *   npm run conformance
 *   npm run conformance -- --check   runs ws only, with fewer messages, and fails if the page says anything else
 *   npm run conformance -- --full    all messages of sections 12 and 13, 40 GB in all
 *
 * `--check` and conformance.test.ts, which runs effect-ws, together check all of the page.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { type Case, isFor, isOwn, type Section } from "./case.ts"
import { sections } from "./cases/index.ts"
import { failures, markdown, passes, type Results, summary } from "./report.ts"
import { type Effort, fewMessages, run, type Verdict } from "./run.ts"
import { isHttp2, ownClient, ownHttp2Server, ownServer, type Subject, wsClient, wsServer } from "./subjects.ts"

/** The time limit of a case, in milliseconds. Cases of a subject that waits for more than it should take all of it. */
const patience = { short: 10_000, long: 120_000 }

const checking = process.argv.includes("--check")

const effort: Effort = checking ? fewMessages : {
  messages: Number.POSITIVE_INFINITY,
  bytes: process.argv.includes("--full") ? Number.POSITIVE_INFINITY : 4 * 1024 * 1024
}

/** The sections of long cases, which run one by one: they keep a core busy, and would use up each other's time. */
const oneByOne = new Set(["9", "12", "13"])

const casesOf = (subject: Subject, isChosen: (section: Section) => boolean): ReadonlyArray<Case> =>
  sections.filter(isChosen).flatMap(({ cases }) => cases)
    .filter((test) => isFor(test, subject.role, isHttp2(subject)) && !(isOwn(test) && !subject.own))

const runAll = async (subject: Subject): Promise<ReadonlyMap<string, Verdict>> => {
  const verdicts = new Map<string, Verdict>()
  const runCase = async (test: Case, limit: number) =>
    void verdicts.set(test.id, await run(test, subject, limit, effort))
  await Promise.all(casesOf(subject, ({ id }) => !oneByOne.has(id)).map((test) => runCase(test, patience.short)))
  for (const test of casesOf(subject, ({ id }) => oneByOne.has(id))) await runCase(test, patience.long)
  return verdicts
}

/** The verdicts of a subject that passes each case. */
const allPassed = (subject: Subject): ReadonlyMap<string, Verdict> =>
  new Map(
    sections.flatMap(({ cases }) => cases).filter((test) => isFor(test, subject.role, isHttp2(subject)))
      .map((test) => [test.id, { ok: true, said: passes(test) }])
  )

const verdictsOf = async (subject: Subject): Promise<ReadonlyMap<string, Verdict>> =>
  checking && subject.own ? allPassed(subject) : runAll(subject)

const servers = [await ownServer(), await ownHttp2Server(), await wsServer()] as const
const subjects = [servers[0], ownClient, servers[1], servers[2], wsClient]
const results: Results = new Map()
for (const subject of subjects) results.set(subject, await verdictsOf(subject))
await Promise.all(servers.map((server) => server.stop()))

console.log(summary(sections, results))

const path = "docs/conformance.md"
const page = markdown(sections, results)
if (!checking) writeFileSync(path, page)
else if (readFileSync(path, "utf8") !== page) {
  console.error(`${path} says something else`)
  process.exitCode = 1
}

const failed = failures(sections, results, (subject) => subject.own)
if (failed.length > 0) {
  console.error(failed.join("\n"))
  process.exitCode = 1
}
