import { assert, describe, it } from "@effect/vitest"
import { compare, differences, differential, readOurs, readTheirs } from "./differential.ts"
import { fuzz } from "./engine.ts"

describe("differences between this library and ws", () => {
  for (const difference of differences) {
    it(difference.name, async () => {
      const example = {
        role: "client" as const,
        maxMessageSize: 200,
        maxFragments: 3,
        chunks: [Buffer.from(difference.example.replaceAll(" ", ""), "hex")]
      }
      assert.notDeepEqual(readOurs(example), await readTheirs(example))
      assert.strictEqual((await compare(example))?.name, difference.name)
    })
  }

  it("allows no other differences", async () => {
    const { finding } = await fuzz(differential, { seed: 1, until: (executions) => executions === 1500 })
    assert.isUndefined(finding, finding && differential.explain!(finding.input))
  })
})
