import { assert, it } from "@effect/vitest"
import { randomWord } from "../../../src/internal/runtime/randomWords.ts"

it("randomWord uses each word of a block once, and fills the next block anew", () => {
  const words = Array.from({ length: 5000 }, randomWord)
  // Of 5,000 random words, more than ten repeat in less than one of 10^20 runs.
  assert.isAbove(new Set(words).size, 4990)
  for (let bit = 0; bit < 32; bit++) {
    const ones = words.filter((word) => (word >>> bit & 1) === 1).length
    assert.isAbove(ones, 2000, `bit ${bit}`)
    assert.isBelow(ones, 3000, `bit ${bit}`)
  }
})
