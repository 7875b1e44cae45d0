import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { Duplex } from "node:stream"
import { Timers } from "../../../src/internal/runtime/timers.ts"
import { closeAfterResponse, limitResponse, readEarly } from "../../../src/internal/node/upgradeSocket.ts"
import { socketPair } from "../../support/net.ts"
import { eventually } from "../../support/resources.ts"

/** A stream that completes one write for each call of `takeWrite`. */
class Slow extends Duplex {
  private taken: (() => void) | undefined
  constructor() {
    super({ read: () => {} })
  }
  override _write(_chunk: Uint8Array, _encoding: string, callback: () => void): void {
    this.taken = callback
  }
  takeWrite(): void {
    const { taken } = this
    this.taken = undefined
    taken?.()
  }
}

const timers = Effect.map(Effect.context<never>(), Timers.of)
const turns = Effect.repeat(Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void))), {
  times: 3
})
/** Advances the clock, and runs the timers that are due. */
const pass = (millis: number) => Effect.andThen(TestClock.adjust(millis), turns)

describe("limitResponse", () => {
  it.effect("restarts the timeout whenever a part of the response has left, and when all of it has", () =>
    Effect.gen(function*() {
      const socket = new Slow()
      limitResponse(socket, yield* timers, 1000)
      socket.resume()
      yield* pass(10_000)
      assert.isFalse(socket.destroyed, "there is no response yet")
      for (let i = 0; i < 10; i++) socket.write("x")
      socket.end()
      for (let i = 0; i < 10; i++) {
        yield* pass(900)
        socket.takeWrite()
        yield* turns
      }
      assert.isFalse(socket.destroyed, "the response leaves slowly")
      yield* pass(900)
      assert.isFalse(socket.destroyed, "the client reads")
      yield* pass(1000)
      assert.isTrue(socket.destroyed)
    }))

  it.effect("destroys the socket of a client that reads nothing of the response", () =>
    Effect.gen(function*() {
      const socket = new Slow()
      socket.write("x")
      limitResponse(socket, yield* timers, 1000)
      yield* pass(999)
      assert.isFalse(socket.destroyed)
      yield* pass(1)
      assert.isTrue(socket.destroyed)
    }))

  it.effect("leaves a socket alone if a program reads it, or if the limit was stopped", () =>
    Effect.gen(function*() {
      const read = new Slow()
      read.on("data", () => {})
      read.write("x")
      limitResponse(read, yield* timers, 1000)
      const stopped = new Slow()
      stopped.write("x")
      limitResponse(stopped, yield* timers, 1000)()
      yield* pass(10_000)
      assert.deepStrictEqual([read.destroyed, stopped.destroyed], [false, false])
    }))
})

describe("closeAfterResponse", () => {
  const settled = (isClosing = false) =>
    Effect.gen(function*() {
      const [client, socket] = yield* socketPair
      closeAfterResponse(socket, yield* timers, 1000, () => isClosing)
      return { client, socket }
    })

  it.effect("destroys an ended socket when its client ends, even if the client has sent data", () =>
    Effect.gen(function*() {
      const { client, socket } = yield* settled()
      client.write("unread")
      socket.end("response")
      client.resume().end()
      yield* eventually(() => socket.destroyed)
    }))

  it.effect("destroys the socket of a client that ends its side before the response", () =>
    Effect.gen(function*() {
      const { client, socket } = yield* settled()
      client.end()
      yield* eventually(() => socket.destroyed)
    }))

  it.effect("lets a response end that has not ended when its client does", () =>
    Effect.gen(function*() {
      let finish = () => {}
      const socket = new Duplex({
        read: () => {},
        write: (_chunk, _encoding, callback) => callback(),
        final: (callback) => {
          finish = callback
        }
      })
      closeAfterResponse(socket, yield* timers, 1000, () => false)
      socket.end("response")
      socket.resume().push(null)
      yield* turns
      assert.isFalse(socket.destroyed)
      finish()
      yield* eventually(() => socket.destroyed)
    }))

  it.effect("destroys an ended socket when the server closes", () =>
    Effect.gen(function*() {
      const { socket } = yield* settled(true)
      socket.end("response")
      yield* eventually(() => socket.destroyed)
    }))

  it.effect("leaves a socket alone once it is stopped", () =>
    Effect.gen(function*() {
      const [client, socket] = yield* socketPair
      const stop = closeAfterResponse(socket, yield* timers, 1000, () => true)
      stop()
      socket.end("bye")
      client.write("unread")
      yield* eventually(() => socket.writableFinished)
      yield* pass(10_000)
      assert.deepStrictEqual([socket.destroyed, socket.isPaused()], [false, false])
      assert.deepStrictEqual(["end", "finish", "close"].map((event) => socket.listeners(event).length), [1, 0, 0])
    }))

  it.effect("leaves a socket to the program that reads it, whichever side ends first", () =>
    Effect.gen(function*() {
      const { client, socket } = yield* settled(true)
      let received = ""
      socket.on("data", (chunk) => received += chunk)
      socket.end("bye")
      client.resume().write("one")
      yield* eventually(() => received === "one" && socket.writableFinished)
      yield* pass(10_000)
      assert.isFalse(socket.destroyed)
      client.end("two")
      yield* eventually(() => received === "onetwo")
    }))
})

describe("readEarly", () => {
  it.effect("destroys the socket of a client that ends its side, until it is told to stop", () =>
    Effect.gen(function*() {
      const [early, stopped] = [new Slow(), new Slow()]
      readEarly(early)
      readEarly(stopped)()
      for (const socket of [early, stopped]) socket.push(null)
      stopped.resume()
      yield* eventually(() => early.destroyed)
      yield* turns
      assert.isFalse(stopped.destroyed)
    }))

  it.effect("destroys the sockets of clients that together send more than 64 MiB", () =>
    Effect.gen(function*() {
      const sockets = Array.from({ length: 300 }, () => new Slow())
      const stops = sockets.map(readEarly)
      for (const socket of sockets) socket.push(Buffer.alloc(256 * 1024))
      yield* eventually(() => sockets.some(({ destroyed }) => destroyed))
      yield* turns
      const kept = sockets.filter(({ destroyed }) => !destroyed).length
      assert.strictEqual(kept, 64 * 4)
      for (const stop of stops) stop()
      // The stopped readers no longer count.
      const next = new Slow()
      const stop = readEarly(next)
      next.push(Buffer.from("early"))
      yield* turns
      assert.isFalse(next.destroyed)
      assert.strictEqual(Buffer.from(stop()).toString(), "early")
    }))
})
