/** Random ids. */
import { assert, it } from "@effect/vitest"
import { randomId } from "../../../src/internal/centrifuge/randomId.ts"

it("randomId returns 32 hexadecimal digits, others each time", () => {
  const ids = new Set(Array.from({ length: 1000 }, randomId))
  assert.strictEqual(ids.size, 1000)
  for (const id of ids) assert.match(id, /^[0-9a-f]{32}$/)
})
