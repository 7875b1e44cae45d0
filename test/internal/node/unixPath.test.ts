import { assert, describe, it } from "@effect/vitest"
import { platform } from "node:process"
import { checkUnixPath } from "../../../src/internal/node/unixPath.ts"

const maxLength = platform === "linux" ? 107 : 103

describe("checkUnixPath", () => {
  it("counts bytes, not characters", () => {
    assert.isUndefined(checkUnixPath("socketPath", "é".padEnd(maxLength - 1, "x")))
    assert.deepInclude(checkUnixPath("socketPath", "é".padEnd(maxLength, "x")), {
      _tag: "InvalidOption",
      option: "socketPath"
    })
  })

  it("rejects an empty path, and NUL within a path", () => {
    for (const path of ["", "a\0b"]) assert.isDefined(checkUnixPath("socketPath", path), JSON.stringify(path))
    assert.isUndefined(checkUnixPath("socketPath", undefined))
  })

  if (platform === "linux") {
    it("does not count the NUL before the name of an abstract socket", () => {
      assert.isUndefined(checkUnixPath("socketPath", `\0${"x".repeat(maxLength)}`))
      assert.isDefined(checkUnixPath("socketPath", `\0${"x".repeat(maxLength + 1)}`))
      assert.isDefined(checkUnixPath("socketPath", "\0"))
    })
  }
})
