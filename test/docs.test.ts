/** The examples in the documentation that say what they come to do come to it. */
import { describe, it } from "@effect/vitest"
import { writeExamples } from "../scripts/doc-examples.mjs"

describe("documented examples", () => {
  for (const { asserts, file, name } of writeExamples()) {
    if (asserts) it(name, () => import(/* @vite-ignore */ file))
  }
})
