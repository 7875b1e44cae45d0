import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Schema } from "effect"
import { Broker, Topic, Topics } from "effect-ws"

const room = Topic.make("room/:name", { message: Schema.String })

const build = (options: Topics.Options) =>
  Effect.scoped(Effect.exit(Layer.build(Layer.provide(Topics.layer(options), Broker.layerMemory()))))

describe("the options of Topics.layer", () => {
  for (
    const [option, invalid, valid] of [
      ["memory", [{ memory: -1 }, { memory: NaN }], [{ memory: 0 }, { memory: Infinity }]],
      ["linger", [{ linger: -1 }], [{ linger: 0 }, { linger: Infinity }]],
      ["maxBacklog", [{ maxBacklog: -1 }, { maxBacklog: NaN }], [{ maxBacklog: 0 }]],
      ["topics", [{ topics: [room, Topic.make("room/lobby", { message: Schema.String })] }], [{ topics: [room] }]]
    ] as ReadonlyArray<readonly [string, ReadonlyArray<Topics.Options>, ReadonlyArray<Topics.Options>]>
  ) {
    it.effect(`an invalid ${option} fails with InvalidOption, and its limits are valid`, () =>
      Effect.gen(function*() {
        for (const options of invalid) {
          const exit = yield* build(options)
          const [reason] = Exit.isFailure(exit) ? exit.cause.reasons : []
          assert.isTrue(reason?._tag === "Fail" && reason.error.option === option, JSON.stringify(options))
        }
        for (const options of valid) assert.isTrue(Exit.isSuccess(yield* build(options)), JSON.stringify(options))
      }))
  }
})
