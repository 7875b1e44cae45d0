/** The examples of guides and docstrings, which the set-up of end-to-end tests has written to files. */
import { Effect } from "effect"
import { readExamples } from "../../scripts/doc-examples.mjs"

export const examples = readExamples()

/** Imports an example: what it exports, by the page that it is on and the heading that it is under. */
export const example = <Exports>(page: string, heading: string): Effect.Effect<Exports> => {
  const found = examples.filter((entry) => entry.source === `docs/${page}.md` && entry.heading === heading)
  if (found.length !== 1) throw new Error(`${page}.md has ${found.length} examples under "${heading}"`)
  return Effect.promise(() => import(/* @vite-ignore */ found[0].file))
}
