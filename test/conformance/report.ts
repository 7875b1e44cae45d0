/** What came of the cases, as tables. */
import { type Case, isFor, type Section } from "./case.ts"
import type { Verdict } from "./run.ts"
import type { Subject } from "./subjects.ts"

/** For each subject, what became of each case, by its id. */
export type Results = Map<Subject, ReadonlyMap<string, Verdict>>

const label = ({ name, role }: Subject): string => `${name} ${role}`

/** What the page says of a case that this library passes. */
export const passes = (test: Case): string => {
  switch (test.kind) {
    case "exchange":
    case "compressed":
      return ""
    case "request":
      return test.status === 101 ? "accepted" : `refused with ${test.status}`
    case "response":
      return test.error === undefined ? "accepted" : `refused: ${test.error}`
  }
}

/** A case's verdict in a word or some. */
export const cell = (
  test: Case,
  subject: Pick<Subject, "role"> & { readonly http2?: boolean },
  verdict: Verdict | undefined
): string => {
  if (verdict === undefined) return isFor(test, subject.role, subject.http2) ? "its own" : ""
  return verdict.ok ? (verdict.said === "" ? "OK" : `OK, ${verdict.said}`) : `**${verdict.said}**`
}

const table = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const [head, ...body] = rows.map((row) => `| ${row.map((value) => value.replaceAll("|", "\\|")).join(" | ")} |`)
  return [head, `|${" --- |".repeat(rows[0].length)}`, ...body].join("\n")
}

const countOf = (section: Section, verdicts: ReadonlyMap<string, Verdict>): string => {
  const all = section.cases.flatMap(({ id }) => verdicts.get(id) ?? [])
  return all.length === 0 ? "" : `${all.filter(({ ok }) => ok).length} of ${all.length}`
}

/** How many cases of each section passed. */
const counts = (sections: ReadonlyArray<Section>, results: Results): ReadonlyArray<ReadonlyArray<string>> => {
  const everything: Section = { id: "", title: "All", cases: sections.flatMap(({ cases }) => cases) }
  const columns = Array.from(results.values())
  return [
    ["", ""].concat(Array.from(results.keys(), label)),
    ...[...sections, everything].map((section) =>
      [section.id, section.title].concat(columns.map((verdicts) => countOf(section, verdicts)))
    )
  ]
}

/** The same for a terminal. */
export const summary = (sections: ReadonlyArray<Section>, results: Results): string => {
  const rows = counts(sections, results)
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)))
  return rows.map((row) => row.map((value, column) => value.padEnd(widths[column])).join("  ").trimEnd()).join("\n")
}

/** The cases that some subjects failed, a line each. */
export const failures = (
  sections: ReadonlyArray<Section>,
  results: Results,
  which: (subject: Subject) => boolean
): ReadonlyArray<string> =>
  Array.from(results).filter(([subject]) => which(subject)).flatMap(([subject, verdicts]) =>
    sections.flatMap(({ cases }) => cases).flatMap(({ about, id }) => {
      const verdict = verdicts.get(id)
      return verdict === undefined || verdict.ok ? [] : [`${label(subject)}, ${id} ${about}: ${verdict.said}`]
    })
  )

const introduction = `# Conformance

Each case is played over TCP to an echo on default options, as a server and, roles turned, as a client, by a peer that
shares no code with the library. \`npm run conformance\` runs them all and writes this page; \`npm run test:all\` runs them for
effect-ws, of sections 12 and 13 with fewer messages.

Sections with numbers are those of the [Autobahn TestSuite](https://github.com/crossbario/autobahn-testsuite), case by case,
written anew from what it documents. Sections with letters are our own. An OK is a strict one: each echo and pong byte by
byte and in order, the exact close code, nothing behind the close frame, and TCP ended in order, by a server without
waiting for the client. What Autobahn calls non-strict or informational has one right outcome here; where that was a
choice, the case says which ("strict: ..."). A connection that must fail has to fail before anything more is
sent.

"over HTTP/2" is the same server with RFC 8441: the peer's bytes and the end of its TCP go through a stream of Node's client for HTTP/2,
whose END_STREAM and resets it sees as those of TCP. The cases about HTTP/1.1 handshakes do not apply.

In sections 12 and 13 permessage-deflate is turned on, with nothing else set. The peer compresses with node:zlib, the data is
like Autobahn's without being the same, and an OK means, too, that what the peer asked for was agreed on and kept to (the echoes
are read with a window of that size, and an empty one for each message where the context is not to be kept), and that
echoes of 1 KiB and more were compressed, where the data can be. Autobahn sends 1000 messages in each case; so does this
as far as they come to no more than 4 MiB, and \`npm run conformance -- --full\` whatever they come to.

What is not OK is in bold, with what was seen instead: "waited for more" is a connection that was not failed at the byte
that broke a rule, "closed with" one that ended with another code, or before all was answered. Handshakes say how they
ended; of ws any refusal is OK, of effect-ws only the very status or error. "its own" marks limits and policies, which each
library has of its own.
`

export const markdown = (sections: ReadonlyArray<Section>, results: Results): string => {
  const subjects = Array.from(results)
  return [
    introduction,
    `${table(counts(sections, results))}\n`,
    ...sections.flatMap(({ cases, id, title }) => [
      `## ${id}: ${title}\n`,
      `${
        table([
          ["", "", ...subjects.map(([subject]) => label(subject))],
          ...cases.map((test) =>
            [test.id, test.about].concat(
              subjects.map(([subject, verdicts]) => cell(test, subject, verdicts.get(test.id)))
            )
          )
        ])
      }\n`
    ])
  ].join("\n")
}
