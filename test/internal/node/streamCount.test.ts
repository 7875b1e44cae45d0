import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { EventEmitter } from "node:events"
import type * as Http2 from "node:http2"
import { StreamCount } from "../../../src/internal/node/streamCount.ts"
import { Timers } from "../../../src/internal/runtime/timers.ts"
import { turn } from "../../support/memory.ts"

class FakeStream extends EventEmitter {
  destroyed = false
  headersSent = true

  close(): void {
    this.destroyed = true
    this.emit("close")
  }
}

const make = Effect.map(Effect.context<never>(), (context) => {
  const calls: Array<string> = []
  const session = {
    destroyed: false,
    destroy: (_error: unknown, code: number) => void calls.push(`destroy ${code}`)
  }
  const count = new StreamCount(session as unknown as Http2.ServerHttp2Session, Timers.of(context), () => {
    calls.push("none")
  })
  const open = (headersSent = true, destroyed = false) => {
    const stream = Object.assign(new FakeStream(), { headersSent, destroyed })
    count.add(stream as unknown as Http2.ServerHttp2Stream)
    return stream
  }
  return { calls, open }
})

describe("StreamCount", () => {
  it.effect("reports when no stream is open, each time the last one closes", () =>
    Effect.gen(function*() {
      const { calls, open } = yield* make
      const [first, second] = [open(), open()]
      first.close()
      assert.deepStrictEqual(calls, [])
      second.close()
      assert.deepStrictEqual(calls, ["none"])
      open().close()
      assert.deepStrictEqual(calls, ["none", "none"])
    }))

  it.effect("reports the same for a stream that was destroyed before", () =>
    Effect.gen(function*() {
      const { calls, open } = yield* make
      const first = open()
      open(true, true)
      assert.deepStrictEqual(calls, [])
      first.close()
      open(true, true)
      assert.deepStrictEqual(calls, ["none", "none"])
    }))

  it.effect("an error of a stream has a listener", () =>
    Effect.gen(function*() {
      const { open } = yield* make
      open().emit("error", new Error("reset"))
    }))

  it.effect("destroys the session of a client that resets more streams than the guard allows", () =>
    Effect.gen(function*() {
      const { calls, open } = yield* make
      const destroyed = () => calls.filter((call) => call !== "none")
      for (let i = 0; i < 200; i++) open().close()
      for (let i = 0; i < 100; i++) open(false).close()
      yield* turn
      assert.deepStrictEqual(destroyed(), [])
      open(false).close()
      yield* turn
      // ENHANCE_YOUR_CALM (RFC 9113 §7).
      assert.deepStrictEqual(destroyed(), ["destroy 11"])
    }))
})
