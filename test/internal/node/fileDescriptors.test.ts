import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger } from "effect"
import { TestClock } from "effect/testing"
import fs from "node:fs"
import { syncBuiltinESMExports } from "node:module"
import { devNull } from "node:os"
import { FileDescriptors } from "../../../src/internal/node/fileDescriptors.ts"
import { Timers } from "../../../src/internal/runtime/timers.ts"

/** Runs logs, and keeps their levels and messages. */
const makeLog = () => {
  const logged: Array<string> = []
  const logger = Logger.make(({ logLevel, message }) => {
    logged.push(`${logLevel}: ${[message].flat().join(" ")}`)
  })
  const run = (log: Effect.Effect<void>) => Effect.runSync(Effect.provide(log, Logger.layer([logger])))
  return { logged, run }
}

describe("FileDescriptors", () => {
  it.effect("logs once when descriptors are exhausted, and once when there are some again", () =>
    Effect.gen(function*() {
      const timers = Timers.of(yield* Effect.context<never>())
      let missing: Error | undefined
      let probes = 0
      let logs = 0
      const descriptors = new FileDescriptors(timers, () => logs++, () => {
        probes++
        return missing
      })
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual([probes, logs], [0, 0])
      descriptors.onConnection()
      descriptors.onConnection()
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual([probes, logs], [1, 0])
      missing = new Error("EMFILE")
      descriptors.onConnection()
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual([probes, logs], [4, 1])
      missing = undefined
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual([probes, logs], [5, 2])
      descriptors.onConnection()
      descriptors.stop()
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual([probes, logs], [5, 2])
    }))

  it.effect("logs an error with its cause, and later an info", () =>
    Effect.gen(function*() {
      const { logged, run } = makeLog()
      let missing: Error | undefined = new Error("EMFILE")
      const descriptors = new FileDescriptors(Timers.of(yield* Effect.context<never>()), run, () => missing)
      descriptors.onConnection()
      yield* TestClock.adjust("999 millis")
      assert.deepStrictEqual(logged, [])
      yield* TestClock.adjust("1 millis")
      missing = undefined
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(logged, [
        "Error: the WebSocket server drops new connections: no file descriptor is left Error: EMFILE",
        "Info: the WebSocket server accepts connections again"
      ])
    }))

  /** Replaces `openSync` and `closeSync` while an effect runs. */
  const withFiles = (files: Pick<typeof fs, "closeSync" | "openSync">) =>
    Effect.acquireUseRelease(
      Effect.sync(() => {
        const { closeSync, openSync } = fs
        Object.assign(fs, files)
        syncBuiltinESMExports()
        return { closeSync, openSync }
      }),
      () => TestClock.adjust("1 second"),
      (original) =>
        Effect.sync(() => {
          Object.assign(fs, original)
          syncBuiltinESMExports()
        })
    )

  it.effect("probes by opening a file, and closes it", () =>
    Effect.gen(function*() {
      const { logged, run } = makeLog()
      const descriptors = new FileDescriptors(Timers.of(yield* Effect.context<never>()), run)
      const calls: Array<string> = []
      descriptors.onConnection()
      yield* withFiles({
        openSync: (path, flags) => {
          calls.push(`open ${path} ${flags}`)
          return 12_345
        },
        closeSync: (descriptor) => {
          calls.push(`close ${descriptor}`)
        }
      })
      assert.deepStrictEqual(calls, [`open ${devNull} r`, "close 12345"])
      descriptors.onConnection()
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(logged, [])
    }))

  it.effect("logs why no file can be opened", () =>
    Effect.gen(function*() {
      const { logged, run } = makeLog()
      const descriptors = new FileDescriptors(Timers.of(yield* Effect.context<never>()), run)
      descriptors.onConnection()
      yield* withFiles({
        openSync: () => {
          throw new Error("EMFILE")
        },
        closeSync: () => {}
      })
      descriptors.stop()
      assert.deepStrictEqual(logged, [
        "Error: the WebSocket server drops new connections: no file descriptor is left Error: EMFILE"
      ])
    }))
})
