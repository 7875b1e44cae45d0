/** The documentation: examples that say what they come to do come to it, tests in it pass, links lead somewhere. */
import { assert, describe, it } from "@effect/vitest"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { writeExamples } from "../scripts/doc-examples.mjs"
import { makeAnchors } from "../scripts/markdown.mjs"

const root = fileURLToPath(new URL("..", import.meta.url))

const examples = writeExamples()

describe("documented examples", () => {
  for (const { asserts, file, name } of examples) {
    if (asserts) it(name, () => import(/* @vite-ignore */ file))
  }
})

for (const { file, name, tests } of examples) {
  if (tests) describe(name, () => import(/* @vite-ignore */ file).then(() => {}))
}

describe("links", () => {
  const pages = ["", "docs", "docs/api"].flatMap((folder) =>
    readdirSync(join(root, folder)).filter((name) => name.endsWith(".md")).map((name) => join(folder, name))
  )
  const withoutCode = (page: string) => readFileSync(join(root, page), "utf8").replaceAll(/^```[\s\S]*?^```$/gm, "")
  const anchorsOf = (page: string) => {
    const anchor = makeAnchors()
    return new Set(
      Array.from(
        withoutCode(page).matchAll(/^#+ (.+)$/gm),
        ([, heading]) => anchor(heading.replaceAll(/\]\([^)]*\)/g, ""))
      )
    )
  }

  for (const page of pages) {
    it(page, () => {
      for (const [, link] of withoutCode(page).matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^\w+:/.test(link)) continue
        const [path, anchor] = link.split("#")
        const file = path === "" ? page : join(dirname(page), path)
        assert.isTrue(existsSync(join(root, file)), link)
        if (anchor !== undefined) assert.isTrue(anchorsOf(file).has(anchor), link)
      }
    })
  }
})
