import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { runSchedule } from "./schedule.ts"

/** `SCHEDULES=1000 npm run test:redis` runs more of them, and `SEED=7` begins at another one. */
const count = Number(process.env["SCHEDULES"] ?? 100)
const first = Number(process.env["SEED"] ?? 1)

/** Each has servers and processes of its own. */
const concurrency = 4

describe("Topics over Redis", () => {
  it.live(
    `deliver each message once and in order, under ${count} random schedules of faults`,
    () =>
      Effect.forEach(Array.from({ length: count }, (_, i) => first + i), runSchedule, { concurrency, discard: true }),
    300_000 + count * 60_000
  )
})
