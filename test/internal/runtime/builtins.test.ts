import { assert, describe, it, vi } from "vitest"
import * as builtins from "../../../src/internal/runtime/builtins.ts"

const nameOf = (name: string): string => `node:${name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}`

describe("modules of Node", () => {
  for (const [name, load] of Object.entries(builtins)) {
    it(`${name} returns ${nameOf(name)}, and the same object each time`, async () => {
      const imported = await import(nameOf(name)) as { readonly default: unknown }
      assert.strictEqual<unknown>(load(), imported.default)
      assert.strictEqual<unknown>(load(), load())
    })
  }

  it("loads a module when it is first used, and not with an import", async () => {
    const load = vi.spyOn(process, "getBuiltinModule")
    try {
      const copy = new URL("../../../src/internal/runtime/builtins.ts", import.meta.url).pathname + "?copy"
      const { http } = await import(copy) as typeof builtins
      assert.deepStrictEqual(load.mock.calls, [])
      http()
      http()
      assert.deepStrictEqual<unknown>(load.mock.calls, [["node:http"]])
    } finally {
      load.mockRestore()
    }
  })
})
