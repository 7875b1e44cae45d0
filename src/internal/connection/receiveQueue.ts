/**
 * The data that a connection has received and the program has not read: checked
 * data frames, and the control frames that the options leave to the program.
 *
 * Only `Connection` uses this. Extensions decode frames, and frames become
 * messages, when the program reads them. So unread data takes no more memory than
 * the high-water mark allows, however large a message is or will be.
 */
import type { NonEmptyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import { type ConnectionClosed, type InvalidMessage, MessageSkipped } from "../../ConnectionError.ts"
import type { Message } from "../../Message.ts"
import { MessageTooLarge, type ProtocolError } from "../../ProtocolError.ts"
import { Frame, isControl, Opcode, Piece } from "../protocol/frame.ts"
import { Assembler } from "../protocol/messageAssembler.ts"
import { soon } from "../runtime/turns.ts"
import {
  failedWith,
  type MessageDecoder,
  type MessageQueue,
  type OnInvalid,
  readAllDecoded,
  readDecoded
} from "./decodedReader.ts"
import type { Extensions } from "./extensionPipeline.ts"
import { FrameQueue } from "./frameQueue.ts"
import { type OnEnd, type Readable, Reader, Readers, type ReadOperation } from "./reader.ts"

// Thrown by a read operation in place of its error, and caught right around it: an effect that fails takes a step more
// than one that succeeds, and another fiber could run in between.

/** The message of these fragments was skipped. */
const skipped = Symbol("skipped")

/** The first fragment of a message, and a token to read the others with. */
interface FirstFragment {
  readonly first: Frame
  readonly token: object
}

/** The connection that frames come from. */
export interface Source {
  /** The queue was above its high-water mark, and has room again. */
  readonly resume: () => void
  /** Fails the connection, because a frame or a message cannot be decoded. Returns how the connection ended. */
  readonly onDecodeError: (error: ProtocolError | InvalidMessage) => ConnectionClosed
}

/**
 * Frames pass through four stages, one at a time: the queue, the extensions
 * (`decodedFrame`), the assembler, and a whole message (`ready`). Each read
 * operation starts with the data that the last one left in a later stage. That is
 * why the stages share one class, and its fields are more than twelve.
 */
export class ReceiveQueue implements Readable, MessageQueue {
  private readonly highWaterMark: number
  /** Undefined once the transport is closed: a stream may retain this queue, which must not retain the connection. */
  private source: Source | undefined
  private readonly extensions: Extensions | undefined
  readonly readers = new Readers()

  private readonly queue = new FrameQueue()
  private decodedFrame: Frame | undefined
  /** Decodes the next frame, if an extension suspends. */
  private pendingDecode: Effect.Effect<Frame, ProtocolError> | undefined
  private isDecoding = false
  private readonly assembler = new Assembler()
  ready: Message | undefined

  /** Whether the program has asked for data. */
  isUsed = false
  /** Whether the program wants no more data. */
  private discarding = false
  /** The token of the message that is read in fragments. */
  private activeFragments: object | undefined
  /** How the connection has ended or will end. Data in the queue stays readable. */
  closed: ConnectionClosed | undefined

  constructor(highWaterMark: number, source: Source, extensions: Extensions | undefined) {
    this.highWaterMark = highWaterMark
    this.source = source
    this.extensions = extensions
  }

  /** Whether the peer must be held back. */
  get full(): boolean {
    return this.queue.bytes >= this.highWaterMark
  }

  /** The size of the frames in the queue, in bytes, with an overhead for each. */
  get unreadAmount(): number {
    return this.queue.bytes
  }

  /** Appends checked frames. The queue owns the array. */
  push(frames: Array<Frame>): void {
    if (this.discarding) return
    this.queue.push(frames)
    this.readers.wake()
    this.queue.detachLast(frames.length)
  }

  /** Ends the queue: no more frames will be pushed. */
  close(closed: ConnectionClosed): void {
    // With `autoClose: false`, the peer's close frame may arrive long before this end answers it.
    if (this.closed !== undefined && (this.closed.sent ?? this.closed.cause) !== undefined) return
    this.closed = closed
    this.readers.wake()
  }

  /** Releases the connection, after its transport was closed. */
  detach(): void {
    this.source = undefined
  }

  /** Drops all data, undecoded, and all data that will be pushed. */
  discard(): void {
    this.discarding = true
    this.ready = undefined
    this.decodedFrame = undefined
    this.activeFragments = undefined
    this.assembler.clear()
    if (!this.isDecoding) this.pendingDecode = undefined
    this.queue.clear()
    this.source?.resume()
    // A fiber may wait for the rest of a message in fragments.
    this.readers.wake()
  }

  // -- Read operations ---------------------------------------------------------

  reader<A, E>(operation: ReadOperation<ReceiveQueue, A>, onEnd: OnEnd<E>): Effect.Effect<A, E> {
    this.isUsed = true
    return new Reader<ReceiveQueue, A, E>(this, operation, onEnd)
  }

  /** Reads the next message. */
  readMessage<E>(onEnd: OnEnd<E>): Effect.Effect<Message, E> {
    return this.reader(ReceiveQueue.message, onEnd)
  }

  private static readonly message: ReadOperation<ReceiveQueue, Message> = {
    isReady: (queue) => queue.hasMessage(),
    next: (queue) => queue.nextMessage()
  }

  /** Reads the messages that are here, at least one. */
  readMessages<E>(onEnd: OnEnd<E>): Effect.Effect<NonEmptyArray<Message>, E> {
    return this.reader(ReceiveQueue.messages, onEnd)
  }

  private static readonly messages: ReadOperation<ReceiveQueue, NonEmptyArray<Message>> = {
    isReady: ReceiveQueue.message.isReady,
    next: (queue) => {
      const first = queue.nextMessage()
      if (first === undefined) return undefined
      const messages: NonEmptyArray<Message> = [first]
      let size = first.bytes.length
      while (queue.batchHasRoom(size)) {
        const message = queue.nextMessage()
        if (message === undefined) break
        messages.push(message)
        size += message.bytes.length
      }
      return messages
    }
  }

  /** Reads the next message, decoded. A message that cannot be decoded is removed by the fiber that gets the error. */
  readDecoded<A, E, E2, E3>(
    decode: MessageDecoder<A, E>,
    onInvalid: OnInvalid<E, E2>,
    onEnd: OnEnd<E3>
  ): Effect.Effect<A, E2 | E3> {
    return readDecoded(this, decode, onInvalid, onEnd)
  }

  /** Reads the messages that are here, at least one, up to one that cannot be decoded. */
  readAllDecoded<A, E, E2, E3>(
    decode: MessageDecoder<A, E>,
    onInvalid: OnInvalid<E, E2>,
    onEnd: OnEnd<E3>
  ): Effect.Effect<NonEmptyArray<A>, E2 | E3> {
    return readAllDecoded(this, this.highWaterMark, decode, onInvalid, onEnd)
  }

  /** Reads the frames that are here, at least one. */
  readFrames<E>(onEnd: OnEnd<E>): Effect.Effect<NonEmptyArray<Frame>, E> {
    return this.reader(ReceiveQueue.frames, onEnd)
  }

  private static readonly frames: ReadOperation<ReceiveQueue, NonEmptyArray<Frame>> = {
    isReady: (queue) => queue.hasWholeFrame(),
    next: (queue) => {
      queue.skipFragments()
      const first = queue.nextWholeFrame()
      if (first === undefined) return undefined
      const frames: NonEmptyArray<Frame> = [first]
      let size = first.payload.length
      while (queue.batchHasRoom(size)) {
        const frame = queue.nextWholeFrame()
        if (frame === undefined) break
        frames.push(frame)
        size += frame.payload.length
      }
      return frames
    }
  }

  /** Waits until `nextParts` has frames to return, and reads nothing. */
  awaitPart<E>(onEnd: OnEnd<E>): Effect.Effect<void, E> {
    return Effect.asVoid(this.reader(ReceiveQueue.part, onEnd))
  }

  private static readonly part: ReadOperation<ReceiveQueue, true> = {
    isReady: (queue) => queue.hasPart,
    next: (queue) => queue.hasPart || undefined
  }

  private get hasPart(): boolean {
    return this.ready !== undefined || this.assembler.unfinished || this.peek() !== undefined
  }

  /** Removes the frames, and the pieces of frames, that have arrived and are decoded. */
  nextParts(): ReadonlyArray<Frame> {
    this.skipFragments()
    const frames: Array<Frame> = []
    for (let size = 0; this.hasPart && (frames.length === 0 || this.batchHasRoom(size));) {
      const frame = this.nextFrame()!
      frames.push(frame)
      size += frame.payload.length
    }
    return frames
  }

  /** Reads the first fragment of the next message, with a token for `readFragment`. */
  readFirstFragment<E>(onEnd: OnEnd<E>): Effect.Effect<FirstFragment, E> {
    return this.reader(ReceiveQueue.firstFragment, onEnd)
  }

  private static readonly firstFragment: ReadOperation<ReceiveQueue, FirstFragment> = {
    isReady: (queue) => queue.hasBeginning(),
    next: (queue) => {
      const first = queue.hasBeginning() ? queue.nextFrame() : undefined
      if (first === undefined) return undefined
      const token = {}
      if (!first.fin) queue.activeFragments = token
      return { first, token }
    }
  }

  /** Reads the next fragment of a message. `readFirstFragment` returned the token with its first. */
  readFragment<E>(token: object, onEnd: OnEnd<E>): Effect.Effect<Frame, E | MessageSkipped> {
    const isSkipped = () => this.activeFragments !== token
    return Effect.catchDefect(
      this.reader({
        isReady: () => isSkipped() || this.hasData(),
        next: () => {
          if (isSkipped()) throw skipped
          const frame = this.hasData() ? this.nextFrame() : undefined
          if (frame?.fin === true) this.activeFragments = undefined
          return frame
        }
      }, onEnd),
      (defect) => defect === skipped ? Effect.fail(new MessageSkipped()) : Effect.die(defect)
    )
  }

  /**
   * Whether a batch of this size has room for more. Frames that extensions decode
   * may become much larger, so the high-water mark limits a batch of them.
   */
  private batchHasRoom(size: number): boolean {
    return this.extensions === undefined || size < this.highWaterMark
  }

  get isEnding(): boolean {
    return this.closed !== undefined && !this.isDecoding
  }

  // -- Messages and frames -----------------------------------------------------

  /** Whether a whole message is here. If so, it is `ready`. */
  hasMessage(): boolean {
    while (this.ready === undefined) {
      const frame = this.peek()
      if (frame === undefined) return false
      if (this.readers.isProbing && (isControl(frame) || this.activeFragments !== undefined)) return true
      this.shift()
      this.skipFragments()
      if (isControl(frame)) continue
      const message = this.assembler.push(frame)
      if (message instanceof MessageTooLarge) this.fail(message)
      else this.ready = message
    }
    return true
  }

  dropReady(): void {
    this.ready = undefined
  }

  private nextMessage(): Message | undefined {
    const message = this.hasMessage() ? this.ready : undefined
    this.ready = undefined
    return message
  }

  /** The opcode of the next frame, or of the next part of a frame; undefined if there is no data. */
  private get nextOpcode(): Opcode | undefined {
    return this.ready === undefined ? this.assembler.opcode ?? this.peek()?.opcode : opcodeOf(this.ready)
  }

  /** Whether a whole frame is here. Joins the pieces of a large frame. */
  private hasWholeFrame(): boolean {
    const { assembler } = this
    if (this.ready !== undefined || (assembler.unfinished && !assembler.isWithinFrame)) return true
    for (let frame = this.peek(); frame !== undefined; frame = this.peek()) {
      if (!(frame instanceof Piece) || (frame.remaining === 0 && !assembler.isWithinFrame)) return true
      this.shift()
      const joined = assembler.pushPiece(frame)
      if (joined instanceof MessageTooLarge) this.fail(joined)
      else this.decodedFrame = joined
    }
    return false
  }

  private nextWholeFrame(): Frame | undefined {
    return this.hasWholeFrame() ? this.nextFrame() : undefined
  }

  /** Whether a data frame, or part of one, is next. Drops control frames before it. */
  private hasData(): boolean {
    for (let frame = this.peek(); frame !== undefined && isControl(frame); frame = this.peek()) {
      if (this.readers.isProbing) return true
      this.shift()
    }
    return this.nextOpcode !== undefined
  }

  /** Whether the beginning of a message is next. Drops the rest of a message before it. */
  private hasBeginning(): boolean {
    while (this.hasData()) {
      if (this.readers.isProbing || this.nextOpcode !== Opcode.Continuation) return true
      this.skipFragments()
      this.nextFrame()
    }
    return false
  }

  /** Removes the data of the last stage that has any, as one frame. */
  private nextFrame(): Frame | undefined {
    const { ready } = this
    if (ready === undefined) return this.assembler.giveBack() ?? this.shift()
    this.ready = undefined
    return new Frame(opcodeOf(ready), ready.bytes)
  }

  /** Skips the message that is read in fragments, because the program reads something else. */
  private skipFragments(): void {
    if (this.activeFragments === undefined) return
    this.activeFragments = undefined
    soon(() => this.readers.wake())
  }

  // -- Decoding ----------------------------------------------------------------

  private shift(): Frame | undefined {
    const frame = this.peek()
    this.decodedFrame = undefined
    return frame
  }

  /** The next frame, decoded; undefined if there is no frame, or if an extension suspends. */
  private peek(): Frame | undefined {
    if (this.decodedFrame !== undefined || this.queue.isEmpty || this.pendingDecode !== undefined) {
      return this.decodedFrame
    }
    const frame = this.shiftEncoded()
    if (this.extensions === undefined || isControl(frame)) return this.decodedFrame = frame
    const decoded = this.extensions.decode(frame)
    if (decoded instanceof Frame) return this.decodedFrame = decoded
    if (decoded instanceof Error) this.fail(decoded)
    else this.pendingDecode = decoded
    return undefined
  }

  /** Removes the next frame from the queue. Resumes the source when the queue falls to its low-water mark. */
  private shiftEncoded(): Frame {
    const lowWaterMark = this.highWaterMark / 2
    const wasAbove = this.queue.bytes > lowWaterMark
    const frame = this.queue.shift()
    if (wasAbove && this.queue.bytes <= lowWaterMark) this.source?.resume()
    return frame
  }

  get hasToDecode(): boolean {
    return this.pendingDecode !== undefined && !this.isDecoding
  }

  /** Decodes the next frame. Uninterruptible, because a frame cannot be decoded twice. */
  get decodeNext(): Effect.Effect<void> {
    return Effect.uninterruptible(Effect.suspend(() => {
      // Another fiber may have begun.
      if (this.pendingDecode === undefined || this.isDecoding) return Effect.void
      this.isDecoding = true
      return this.pendingDecode.pipe(
        Effect.match({
          onSuccess: (frame) => {
            if (!this.discarding) this.decodedFrame = frame
          },
          onFailure: (error) => this.fail(error)
        }),
        Effect.ensuring(Effect.sync(() => {
          this.pendingDecode = undefined
          this.isDecoding = false
          this.readers.wake()
        }))
      )
    }))
  }

  /** Fails the connection, because data cannot be decoded. Returns how the connection ended. */
  fail(error: ProtocolError | InvalidMessage): ConnectionClosed {
    this.queue.clear()
    const closed = this.closed = this.source?.onDecodeError(error) ?? failedWith(this.closed!, error)
    this.readers.wake()
    return closed
  }
}

const opcodeOf = (message: Message): Opcode => message._tag === "Text" ? Opcode.Text : Opcode.Binary
