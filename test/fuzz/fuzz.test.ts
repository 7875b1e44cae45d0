import { assert, describe, it } from "@effect/vitest"
import { fuzz, type Target } from "./engine.ts"
import { heldBytes } from "./retainedBytes.ts"
import { Random, Tape } from "./random.ts"
import { targets } from "./targets.ts"

/** How many inputs each target is given here; all together they take a few seconds. */
const executions: Readonly<Record<string, number>> = {
  "frame-decoder": 800,
  "extension-header": 5000,
  "upgrade-request": 3000,
  "client-response": 3000,
  "upgrade-http": 1000,
  "client-http": 300,
  connection: 500,
  deflate: 500,
  "connection-model": 1500,
  "topics-model": 300,
  "topic-codec": 5000,
  "topic-session": 150,
  differential: 800,
  resume: 400
}

describe("the fuzzer finds nothing in", () => {
  for (const target of targets) {
    it(target.name, async () => {
      const limit = executions[target.name]
      const report = await fuzz(target, { seed: 1, until: (count) => count >= limit })
      assert.isUndefined(report.finding, report.finding?.error.stack)
      assert.strictEqual(report.executions, limit)
      assert.isAbove(report.corpus, 5)
    }, 60_000)
  }
})

describe("the fuzzer", () => {
  /** Breaks on an "x" that a "y" follows, somewhere. */
  const broken = (run: (found: boolean) => string | Promise<string>): Target => ({
    name: "broken",
    words: ["y"],
    generate: (choices) => choices.bytes(choices.below(30)),
    run: (input) => {
      const text = Buffer.from(input).toString("latin1")
      return run(/x.*y/s.test(text)) + String(text.includes("x"))
    }
  })

  const wrong = new Error("x before y")
  const throwing = broken((found) => {
    if (found) throw wrong
    return ""
  })

  it("finds a fault, and takes away what has nothing to do with it", async () => {
    const { finding } = await fuzz(throwing, { seed: 1, until: (count) => count === 100_000 })
    assert.strictEqual(finding?.error, wrong)
    assert.strictEqual(Buffer.from(finding!.input).toString("latin1"), "xy")
  })

  it("does the same for the same seed", async () => {
    const run = (seed: number) => fuzz(throwing, { seed, until: (count) => count === 100_000 })
    assert.deepStrictEqual(await run(5), await run(5))
    assert.notStrictEqual((await run(5)).executions, (await run(6)).executions)
  })

  it("starts a target, and clears away after it", async () => {
    const happened: Array<string> = []
    const target: Target = {
      name: "lives",
      generate: () => new Uint8Array(),
      start: () => {
        happened.push("start")
        return Promise.resolve(() => {
          happened.push("stop")
          return Promise.resolve()
        })
      },
      run: () => {
        happened.push("run")
        return Promise.resolve("")
      }
    }
    await fuzz(target, { seed: 1, until: (count) => count === 2 })
    assert.deepStrictEqual(happened, ["start", "run", "run", "stop"])
  })
})

describe("choices from a seed or a tape", () => {
  it("come from the seed", () => {
    const draw = (seed: number) => Array.from(new Random(seed).bytes(8))
    assert.deepStrictEqual(draw(1), draw(1))
    assert.notDeepEqual(draw(1), draw(2))
  })

  it("come from the tape, and are 0 behind its end", () => {
    const tape = new Tape(Uint8Array.of(7, 1, 2))
    assert.deepStrictEqual([tape.below(10), tape.below(1000), tape.done], [7, 258, true])
    assert.deepStrictEqual([tape.below(10), tape.oneIn(2)], [0, false])
  })
})

describe("heldBytes", () => {
  it("counts each buffer once, whole", () => {
    const buffer = new ArrayBuffer(100)
    const holder = { a: [new Uint8Array(buffer, 10, 5), new DataView(buffer)], b: new Map([[1, new Uint8Array(7)]]) }
    assert.strictEqual(heldBytes(holder), 107)
  })
})
