/** Unread frames, counted in bytes. */
import { type Frame, withPayload } from "../protocol/frame.ts"
import { detach } from "../runtime/buffers.ts"

/** The size of a frame beyond its payload, in bytes, so that empty frames count too. */
export const frameOverhead = 64

/** The queue slices its array after this many frames were removed, to release them. */
const blockSize = 1024

/** An empty queue, shared. Frames are never pushed into it: the next array takes its place. */
const noFrames: Array<Frame> = []

export class FrameQueue {
  private frames = noFrames
  private head = 0
  /** The size of the frames in the queue, with an overhead for each. */
  bytes = 0

  get isEmpty(): boolean {
    return this.head === this.frames.length
  }

  /** Appends frames. The queue owns the array. */
  push(frames: Array<Frame>): void {
    if (this.isEmpty) {
      this.frames = frames
      this.head = 0
    } else {
      for (let i = 0; i < frames.length; i++) this.frames.push(frames[i])
    }
    for (let i = 0; i < frames.length; i++) this.bytes += frames[i].payload.length + frameOverhead
  }

  /** Copies the last `count` payloads if they share a buffer: an unread frame must retain only the bytes it counts as. */
  detachLast(count: number): void {
    for (let i = Math.max(this.head, this.frames.length - count); i < this.frames.length; i++) {
      this.frames[i] = withPayload(this.frames[i], detach(this.frames[i].payload))
    }
  }

  /** Removes the next frame. The queue must not be empty. */
  shift(): Frame {
    const frame = this.frames[this.head++]
    this.bytes -= frame.payload.length + frameOverhead
    if (this.isEmpty) {
      this.frames = noFrames
      this.head = 0
    } else if (this.head === blockSize) {
      this.frames = this.frames.slice(blockSize)
      this.head = 0
    }
    return frame
  }

  clear(): void {
    this.frames = noFrames
    this.head = 0
    this.bytes = 0
  }
}
