import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Frame } from "effect-ws"
import { SharedMessage } from "../../../src/internal/connection/sharedMessage.ts"
import { controlToken } from "../../../src/internal/connection/sendQueue.ts"
import { WriteBuffer } from "../../../src/internal/connection/writeBuffer.ts"
import { makeSendQueue } from "../../support/sendQueue.ts"

const microtask = Effect.promise(() => Promise.resolve())

/** The event loop waits for a timer, and this goes on in its turn. On a busy machine, it may have nothing to wait for. */
const idle = Effect.promise(async () => {
  const before = performance.nodeTiming.idleTime
  do await new Promise((resolve) => setTimeout(resolve, 5))
  while (performance.nodeTiming.idleTime === before)
})

/** A write buffer, and the chunks of each write to its transport. */
const makeWriteBuffer = () => {
  const writes: Array<ReadonlyArray<Uint8Array>> = []
  const transport = {
    bufferedAmount: () => 0,
    write: (chunks: ReadonlyArray<Uint8Array>) => {
      writes.push(chunks)
      return true
    }
  }
  return { writes, buffer: new WriteBuffer({ onFull: () => {} }, transport as never, { coalesce: true }) }
}

describe("WriteBuffer", () => {
  for (const role of ["server", "client"] as const) {
    it.effect(`writes frames of any size in the form of a ${role}`, () =>
      Effect.gen(function*() {
        const { network, send, sendQueue, wire } = makeSendQueue({ role, highWaterMark: 1_000_000 })
        const texts = ["", "a", "b".repeat(4096), "c".repeat(4097), "d".repeat(70_000), "e"]
        for (const text of texts) yield* send(text)
        assert.deepStrictEqual(wire(), texts)
        assert.deepStrictEqual([sendQueue.framesOut, sendQueue.bytesOut], [
          texts.length,
          Buffer.concat(network.writes).length
        ])
      }))

    it(`encodes short strings of any script in the form of a ${role}`, () => {
      const { sendQueue, wire } = makeSendQueue({ role, highWaterMark: 1_000_000 })
      // The header of the third and the fourth is longer than that of an ASCII string of the same length.
      const texts = ["", "é", "é".repeat(63), "世".repeat(42), "😀".repeat(20), "a".repeat(1365), "世".repeat(1365)]
      for (const text of texts) sendQueue.writeMessage(text)
      assert.deepStrictEqual(wire(), texts)
    })
  }

  it.effect("writes the first frame of a turn at once if the process was idle, and the others together", () =>
    Effect.gen(function*() {
      const { network, send, wire } = makeSendQueue({ coalesce: true, isEager: true, highWaterMark: 1_000 })
      yield* idle
      for (const text of ["a", "b", "c"]) yield* send(text)
      assert.strictEqual(network.writes.length, 1)
      yield* microtask
      assert.strictEqual(network.writes.length, 2)
      // The process has not been idle since.
      for (const text of ["d", "e"]) yield* send(text)
      yield* microtask
      assert.deepStrictEqual([network.writes.length, wire()], [3, ["a", "b", "c", "d", "e"]])
    }))

  it.effect("writes a frame at once for one connection of a turn", () =>
    Effect.gen(function*() {
      const queues = Array.from({ length: 10 }, () => makeSendQueue({ coalesce: true, isEager: true }))
      yield* idle
      for (const { send } of queues) yield* send("a")
      assert.strictEqual(queues.filter(({ network }) => network.writes.length === 1).length, 1)
      yield* microtask
      for (const { wire } of queues) assert.deepStrictEqual(wire(), ["a"])
    }))

  it.effect("flushes the frames of one turn in one write", () =>
    Effect.gen(function*() {
      const { network, send, sendQueue, wire } = makeSendQueue({ coalesce: true })
      yield* send("a")
      yield* send("b")
      assert.deepStrictEqual([network.writes.length, sendQueue.bufferedAmount], [0, 6])
      yield* microtask
      assert.deepStrictEqual([network.writes.length, wire()], [1, ["a", "b"]])
    }))

  it.effect("collects frames while it is corked, across microtasks", () =>
    Effect.gen(function*() {
      const { network, send, sendQueue, wire } = makeSendQueue({ coalesce: true })
      sendQueue.cork()
      yield* send("a", controlToken)
      yield* microtask
      assert.strictEqual(network.writes.length, 0)
      sendQueue.uncork()
      assert.deepStrictEqual([network.writes.length, wire()], [1, ["a"]])
    }))

  it("flushes at once above 64 KiB, even if it is corked", () => {
    const { network, sendQueue } = makeSendQueue({ coalesce: true, highWaterMark: 1_000_000 })
    sendQueue.cork()
    for (let sent = 0; sent < 64 * 1024; sent += 1000) {
      assert.strictEqual(network.writes.length, 0)
      sendQueue.write(Frame.binary(new Uint8Array(1000)))
    }
    assert.strictEqual(network.writes.length, 1)
  })

  it.effect("keeps the frames of two connections apart that write in the same turn", () =>
    Effect.gen(function*() {
      const one = makeSendQueue({ coalesce: true, highWaterMark: 1000 })
      const two = makeSendQueue({ coalesce: true, highWaterMark: 1000 })
      yield* one.send("a")
      yield* two.send("x")
      yield* one.send("b")
      yield* microtask
      assert.deepStrictEqual([one.wire(), two.wire()], [["a", "b"], ["x"]])
    }))

  it("keeps frames whole where a slab ends", () => {
    const { sendQueue, wire } = makeSendQueue({ coalesce: true, highWaterMark: 1_000_000 })
    const texts = Array.from({ length: 100 }, (_, i) => String(i).repeat(500))
    for (const text of texts) sendQueue.writeMessage(text)
    sendQueue.flush()
    assert.deepStrictEqual(wire(), texts)
  })

  it.effect("shares one buffer among connections that append the same chunks in a turn", () =>
    Effect.gen(function*() {
      const made = [1, 2, 3].map(() => makeSendQueue({ coalesce: true, highWaterMark: 1000 }))
      const messages = ["a", "b"].map((text) => new SharedMessage([text], {}))
      for (const message of messages) for (const { sendQueue } of made) sendQueue.writeShared(message)
      made[1].sendQueue.writeMessage("own")
      yield* microtask
      assert.deepStrictEqual(made.map(({ wire }) => wire()), [["a", "b"], ["a", "b", "own"], ["a", "b"]])
    }))

  it("hands small chunks of a turn to the transport as one, which connections with the same chunks share", () => {
    const made = [makeWriteBuffer(), makeWriteBuffer()]
    const chunks = [1, 2, 3].map((byte) => new Uint8Array(100).fill(byte))
    for (const chunk of chunks) for (const { buffer } of made) buffer.appendEncoded(chunk, 1)
    for (const { buffer } of made) buffer.flush()
    const [[[first]], [[second]]] = made.map(({ writes }) => writes)
    assert.deepStrictEqual(first, Uint8Array.from(Buffer.concat(chunks)))
    assert.strictEqual(second, first)
    assert.deepStrictEqual(made.map(({ writes }) => writes.map((write) => write.length)), [[1], [1]])
  })

  it("hands chunks above 4 KiB to the transport as they are", () => {
    const { buffer, writes } = makeWriteBuffer()
    const chunks = [new Uint8Array(4000), new Uint8Array(97)]
    for (const chunk of chunks) buffer.appendEncoded(chunk, 1)
    buffer.flush()
    assert.lengthOf(writes[0], 2)
    for (const i of [0, 1]) assert.strictEqual(writes[0][i], chunks[i])
  })
})
