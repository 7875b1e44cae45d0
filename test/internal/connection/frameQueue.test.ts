import { assert, describe, it } from "@effect/vitest"
import { Frame } from "effect-ws"
import { frameOverhead, FrameQueue } from "../../../src/internal/connection/frameQueue.ts"
import { allocate } from "../../../src/internal/runtime/buffers.ts"

const frames = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => Frame.text(`${from + i}`))

describe("FrameQueue", () => {
  it("returns frames in order, over several blocks", () => {
    const queue = new FrameQueue()
    queue.push(frames(0, 1500))
    const got: Array<number> = []
    const shift = () => got.push(Number(Buffer.from(queue.shift().payload).toString()))
    for (let i = 0; i < 1200; i++) shift()
    queue.push(frames(1500, 3000))
    while (!queue.isEmpty) shift()
    assert.deepStrictEqual(got, Array.from({ length: 3000 }, (_, i) => i))
  })

  it("counts payloads and an overhead for each frame", () => {
    const queue = new FrameQueue()
    queue.push([Frame.text("abc"), Frame.text("")])
    assert.strictEqual(queue.bytes, 3 + 2 * frameOverhead)
    queue.shift()
    assert.strictEqual(queue.bytes, frameOverhead)
    queue.push([Frame.text("x")])
    queue.clear()
    assert.deepStrictEqual([queue.bytes, queue.isEmpty], [0, true])
  })

  it("detaches the last payloads that share a buffer, and keeps pieces pieces", () => {
    const queue = new FrameQueue()
    queue.push([Frame.binary(allocate(10))])
    const position = { offset: 10, remaining: 5 }
    queue.push([new Frame.Piece(Frame.Opcode.Continuation, allocate(10), false, 0, position)])
    queue.detachLast(1)
    const [first, second] = [queue.shift(), queue.shift()]
    assert.isAbove(first.payload.buffer.byteLength, 10)
    assert.strictEqual(second.payload.buffer.byteLength, 10)
    assert.isTrue(second instanceof Frame.Piece && second.remaining === 5 && second.offset === 10)
  })
})
