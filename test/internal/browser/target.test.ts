import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { pageUrl, resolveTarget } from "../../../src/internal/browser/target.ts"

const page = "https://example.com/app/index.html?a=1#top"

describe("resolveTarget", () => {
  const cases: ReadonlyArray<readonly [url: string, base: string | undefined, target: string]> = [
    ["wss://other/feed", page, "wss://other/feed"],
    ["https://other/feed", page, "wss://other/feed"],
    ["http://other/feed", undefined, "ws://other/feed"],
    ["/feed?x=1", page, "wss://example.com/feed?x=1"],
    ["feed", page, "wss://example.com/app/feed"],
    ["", page, "wss://example.com/app/index.html?a=1"],
    ["//other/feed", page, "wss://other/feed"],
    ["/feed", "http://localhost:8080/", "ws://localhost:8080/feed"]
  ]
  for (const [url, base, target] of cases) {
    it(`resolves ${JSON.stringify(url)} at ${base ?? "no page"} to ${target}`, () => {
      assert.strictEqual(Result.getOrThrow(resolveTarget(url, base)).href, target)
    })
  }

  const invalid: ReadonlyArray<readonly [url: string, base: string | undefined, problem: string]> = [
    ["/feed", undefined, "expected an absolute URL"],
    ["/feed", "blob:https://example.com/1", "expected an absolute URL"],
    ["ftp://other/", page, "expected the scheme ws or wss"],
    ["wss://other/#a", page, "expected no fragment"],
    ["wss://other/a\nb", page, "expected no control characters"]
  ]
  for (const [url, base, problem] of invalid) {
    it(`rejects ${JSON.stringify(url)} at ${base ?? "no page"}`, () => {
      const resolved = resolveTarget(url, base)
      assert.include(Result.isFailure(resolved) ? resolved.failure.problem : "valid", problem)
    })
  }

  it("knows no page on Node", () => assert.isUndefined(pageUrl()))
})
