import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Broker, type Topic } from "effect-ws"
import { Epochs } from "../../../src/internal/topics/epochs.ts"

/** The epochs of a channel whose broker continues "old" up to 57, and counts what it is asked. */
const makeEpochs = () => {
  const host = { epoch: "new", broker: "new", isDown: false }
  const asked: Array<Topic.Position> = []
  const epochs = new Epochs({
    get epoch() {
      return host.epoch
    },
    readHistory: ({ limit, since }) =>
      Effect.suspend((): Effect.Effect<Broker.HistoryPage, Broker.BrokerUnavailable> => {
        assert.strictEqual(limit, 0)
        asked.push(since!)
        if (host.isDown) {
          return Effect.fail(new Broker.BrokerUnavailable({ operation: "history", channel: "c", cause: "down" }))
        }
        const complete = since!.epoch === host.broker || since!.epoch === "old" && since!.offset <= 57
        return Effect.andThen(
          Effect.yieldNow,
          Effect.succeed({ position: { epoch: host.broker, offset: 60 }, publications: [], complete })
        )
      })
  })
  return { asked, epochs, host }
}

const at = (epoch: string, offset: number): Topic.Position => ({ epoch, offset })

describe("Epochs", () => {
  it("translates positions of the current epoch, and of those that it continues", () => {
    const { epochs } = makeEpochs()
    epochs.continue(at("old", 57))
    epochs.continue(at("old", 3))
    const table: ReadonlyArray<readonly [Topic.Position, Topic.Position | undefined]> = [
      [at("new", 99), at("new", 99)],
      [at("old", 57), at("new", 57)],
      [at("old", 0), at("new", 0)],
      [at("old", 58), undefined],
      [at("other", 0), undefined]
    ]
    for (const [position, expected] of table) assert.deepStrictEqual(epochs.translate(position), expected)
    epochs.restart()
    assert.isUndefined(epochs.translate(at("old", 57)))
  })

  it("continues an epoch that has no message up to its beginning", () => {
    const { epochs } = makeEpochs()
    epochs.continue(at("old", 0))
    assert.deepStrictEqual(epochs.translate(at("old", 0)), at("new", 0))
    assert.isUndefined(epochs.translate(at("old", 1)))
  })

  it.effect("asks the broker once for all that resume from one position, whether it is continued or not", () =>
    Effect.gen(function*() {
      for (const [position, expected] of [[at("old", 57), at("new", 57)], [at("old", 58), at("old", 58)]]) {
        const { asked, epochs } = makeEpochs()
        const resolved = yield* Effect.replicateEffect(epochs.resolve(position), 1000, { concurrency: "unbounded" })
        assert.deepStrictEqual(new Set(resolved.map((one) => JSON.stringify(one))), new Set([JSON.stringify(expected)]))
        assert.deepStrictEqual(asked, [position])
      }
    }))

  it.effect("does not ask about the current epoch, nor about offsets that an earlier answer decides", () =>
    Effect.gen(function*() {
      const { asked, epochs } = makeEpochs()
      const resolve = (...positions: ReadonlyArray<Topic.Position>) =>
        Effect.forEach(positions, (position) => epochs.resolve(position))
      yield* resolve(at("new", 5), at("old", 50), at("old", 49), at("old", 60), at("old", 61))
      assert.deepStrictEqual(asked, [at("old", 50), at("old", 60)])
      assert.deepStrictEqual(yield* resolve(at("old", 57), at("old", 58)), [at("new", 57), at("old", 58)])
      assert.strictEqual(asked.length, 4)
    }))

  it.effect("learns nothing while the broker is ahead of the channel, or is down", () =>
    Effect.gen(function*() {
      const { asked, epochs, host } = makeEpochs()
      host.broker = "newer"
      assert.deepStrictEqual(yield* epochs.resolve(at("old", 57)), at("newer", 57))
      assert.deepStrictEqual(yield* epochs.resolve(at("old", 58)), at("old", 58))
      host.broker = "new"
      host.isDown = true
      assert.strictEqual((yield* Effect.flip(epochs.resolve(at("old", 57))))._tag, "BrokerUnavailable")
      host.isDown = false
      yield* epochs.resolve(at("old", 57))
      assert.strictEqual(asked.length, 4)
    }))

  it.effect("remembers 16 of the epochs that clients make up", () =>
    Effect.gen(function*() {
      const { asked, epochs } = makeEpochs()
      for (let i = 0; i < 17; i++) yield* epochs.resolve(at(`made up ${i}`, 1))
      assert.strictEqual(asked.length, 17)
      for (const i of [1, 16]) yield* epochs.resolve(at(`made up ${i}`, 1))
      assert.strictEqual(asked.length, 17)
      yield* epochs.resolve(at("made up 0", 1))
      assert.strictEqual(asked.length, 18)
    }))
})
