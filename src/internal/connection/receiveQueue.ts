/**
 * What a connection has received and nobody has taken yet: data frames that
 * were checked, and those control frames that the options leave to the program.
 *
 * Only `Connection` touches this. Frames are decoded by the extensions, and
 * become messages, when they are taken, so that what is unread costs no more
 * than the mark allows, however long a message is or would become. And whatever
 * is taken is taken in the very last step of the effect that gives it out:
 * whoever is interrupted before that has taken nothing, and there is no after.
 */
import type { NonEmptyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import { ConnectionClosed, type InvalidMessage, MessageSkipped } from "../../ConnectionError.ts"
import { Frame, isControl, Opcode, Piece, withPayload } from "../protocol/frame.ts"
import { Assembler, type Message } from "../../Message.ts"
import { MessageTooLarge, type ProtocolError } from "../../ProtocolError.ts"
import { detach } from "../runtime/buffers.ts"
import type { Extensions } from "./extensionPipeline.ts"
import { soon } from "../runtime/turns.ts"

/** What a frame costs beyond its payload, in bytes, so that empty ones are not free. */
const frameOverhead = 64

// Thrown by a take that finds what it fails with, and never seen outside: to fail takes a step more than to take.

/** A message which cannot be decoded. */
const undecodable = Symbol("undecodable")
/** Fragments of a message that was skipped. */
const skipped = Symbol("skipped")

/** Decodes a message. It may be called twice with the same one. */
type MessageDecoder<A, E> = (message: Message) => Result.Result<A, E>

/** Runs in the step that removes the message which cannot be decoded. */
type OnInvalid<E, E2> = (error: E) => Effect.Effect<never, E2>

/** What taking comes to when there is nothing left to take. */
type OnEnd<E> = (closed: ConnectionClosed) => Effect.Effect<never, E>

/** What can be taken. */
interface ReadOperation<A> {
  readonly isReady: (inbox: ReceiveQueue) => boolean
  /** Answers undefined when it is not ready any more. */
  readonly next: (inbox: ReceiveQueue) => A | undefined
}

/**
 * An effect that waits until something is ready, and takes it in its last step,
 * or is `ended` when nothing is there and nothing will come.
 *
 * It also stands in the queue for the fiber that waits with it; and it can be
 * used again and again: what each wait made anew, and every object that a
 * message leads to, is dear where there are thousands of connections.
 */
class Reader<A, E> extends Effectable.Class<A, E> {
  private readonly inbox: ReceiveQueue
  private readonly kind: ReadOperation<A>
  private readonly onEnd: OnEnd<E>
  /** The fiber that waits, and what wakes it. */
  private fiber: Fiber.Fiber<unknown, unknown> | undefined = undefined
  private resume: ((effect: Effect.Effect<A, E>) => void) | undefined = undefined
  /** Who waits behind it. */
  next: Reader<any, any> | undefined = undefined

  /** Takes. A fiber that was made to yield since it looked may come late, and then it looks again. */
  private readonly read: Effect.Effect<A, E> = Effect.catchDefect(
    Effect.sync(() => {
      const value = this.kind.next(this.inbox)
      if (value === undefined) throw this
      return value
    }),
    (defect) => defect === this ? this : Effect.die(defect)
  )

  /**
   * An interruption undoes nothing of it, because to be ready for that costs
   * each wait a sixteenth of all instructions of a message. To wake a fiber that
   * was interrupted does nothing; when the next waits, it leaves the queue.
   */
  private readonly wait = Effect.callback<A, E>((resume) => {
    // It may have been made to yield since it looked.
    if (this.isReady) return resume(this)
    this.inbox.removeCancelled()
    // Another fiber waits with this one.
    if (this.resume !== undefined) return resume(new Reader(this.inbox, this.kind, this.onEnd))
    this.fiber = Fiber.getCurrent()
    this.resume = resume
    this.inbox.enqueue(this)
  })

  constructor(inbox: ReceiveQueue, kind: ReadOperation<A>, ended: OnEnd<E>) {
    super()
    inbox.isUsed = true
    this.inbox = inbox
    this.kind = kind
    this.onEnd = ended
  }

  asEffect(): Effect.Effect<A, E> {
    if (this.kind.isReady(this.inbox)) return this.read
    if (this.inbox.hasToDecode) return Effect.andThen(this.inbox.decodeNext, this)
    return this.inbox.isEnding ? this.onEnd(this.inbox.closed!) : this.wait
  }

  /** Whether there is something to do: to take, to decode what can be taken then, or to end. */
  get isReady(): boolean {
    return this.kind.isReady(this.inbox) || this.inbox.hasToDecode || this.inbox.isEnding
  }

  /** Whether the fiber that waited was interrupted, and has ended. */
  get isCancelled(): boolean {
    return this.fiber?.pollUnsafe() !== undefined
  }

  /** Wakes the fiber that waits, if one does. To wake it for nothing does no harm: it looks, and waits again. */
  wake(): void {
    const { resume } = this
    this.fiber = undefined
    this.resume = undefined
    resume?.(this.inbox.closed === undefined ? this.read : this)
  }
}

/** The first fragment of a message, with a token for those that follow. */
interface FirstFragment {
  readonly first: Frame
  readonly token: object
}

/** A queue with nothing in it. Nothing is ever put into this one: a new array takes its place. */
const emptyQueue: Array<Frame> = []

/** Where frames come from. */
export interface Source {
  /** The inbox was over its mark, and has room again. */
  readonly resume: () => void
  /** A frame or a message cannot be decoded: the connection fails. Answers how it ended, for those who wait for more. */
  readonly onDecodeError: (error: ProtocolError | InvalidMessage) => ConnectionClosed
}

/** How a connection ended, for who finds out only then that a frame cannot be decoded, and has to know that. */
export const failedWith = (closed: ConnectionClosed, cause: ProtocolError | InvalidMessage): ConnectionClosed =>
  closed.cause === undefined ? new ConnectionClosed({ ...closed, cause }) : closed

export class ReceiveQueue {
  private readonly highWaterMark: number
  /** Nobody any more once the transport is gone: streams may keep this for a while, and must not keep all of it. */
  private source: Source | undefined
  private readonly extensions: Extensions | undefined

  private frames = emptyQueue
  private head = 0
  private bytes = 0

  /** The next frame, decoded. */
  private decodedFrame: Frame | undefined
  /** The decoding of the next frame, where that takes time. */
  private pendingDecode: Effect.Effect<Frame, ProtocolError> | undefined
  /** Whether a fiber does it. */
  isDecoding = false

  /** A message that is whole and not taken yet. */
  private ready: Message | undefined
  private readonly assembler = new Assembler()
  /** Whether the program has asked for something that is here. */
  isUsed = false
  /** Whether the program wants no data any more. */
  private discarding = false
  /** The message that is being read in fragments, if there is one. */
  private activeFragments: object | undefined

  /** How the connection has ended, or will; what is here can still be taken. */
  closed: ConnectionClosed | undefined
  /**
   * Whether somebody else looks for a fiber that seems to wait: it may have been
   * interrupted, and not have ended. What others could want is not passed over
   * then; the fiber looks itself, if it does wait.
   */
  private probing = false
  /** What fibers wait with, first come first served. */
  private first: Reader<any, any> | undefined
  private last: Reader<any, any> | undefined

  constructor(highWaterMark: number, source: Source, extensions: Extensions | undefined) {
    this.highWaterMark = highWaterMark
    this.source = source
    this.extensions = extensions
  }

  /** Whether the peer must be held back. */
  get full(): boolean {
    return this.bytes >= this.highWaterMark
  }

  /** What is here, in bytes, with an overhead for each frame. */
  get unreadAmount(): number {
    return this.bytes
  }

  /** Takes checked frames, and the array that they are in. */
  push(frames: Array<Frame>): void {
    if (this.discarding) return
    if (this.head === this.frames.length) {
      this.frames = frames
      this.head = 0
    } else {
      for (let i = 0; i < frames.length; i++) this.frames.push(frames[i])
    }
    for (let i = 0; i < frames.length; i++) this.bytes += frames[i].payload.length + frameOverhead
    this.wake()
    // An unread frame may stay for a long time: it must not retain more memory than it is counted as.
    for (let i = Math.max(this.head, this.frames.length - frames.length); i < this.frames.length; i++) {
      this.frames[i] = withPayload(this.frames[i], detach(this.frames[i].payload))
    }
  }

  /** Nothing more will come. What is here can still be taken. */
  close(closed: ConnectionClosed): void {
    // The peer's close frame may have come long before it is known how the connection ends (`autoClose: false`).
    if (this.closed !== undefined && (this.closed.sent ?? this.closed.cause) !== undefined) return
    this.closed = closed
    this.wake()
  }

  /** The transport is gone. */
  detach(): void {
    this.source = undefined
  }

  /** Drops what is here, undecoded, and all data that comes from now on. */
  discard(): void {
    this.discarding = true
    this.ready = undefined
    this.decodedFrame = undefined
    this.activeFragments = undefined
    this.assembler.clear()
    if (!this.isDecoding) this.pendingDecode = undefined
    this.empty()
    this.source?.resume()
    // A fiber may wait for the rest of a message in fragments.
    this.wake()
  }

  // -- taking ----------------------------------------------------------------

  /** Takes the next message. */
  readMessage<E>(ended: OnEnd<E>): Effect.Effect<Message, E> {
    return new Reader(this, ReceiveQueue.message, ended)
  }

  private static readonly message: ReadOperation<Message> = {
    isReady: (inbox) => inbox.hasMessage(),
    next: (inbox) => inbox.nextMessage()
  }

  /** Takes the messages that are here, at least one. */
  readMessages<E>(ended: OnEnd<E>): Effect.Effect<NonEmptyArray<Message>, E> {
    return new Reader(this, ReceiveQueue.messages, ended)
  }

  private static readonly messages: ReadOperation<NonEmptyArray<Message>> = {
    isReady: ReceiveQueue.message.isReady,
    next: (inbox) => {
      const first = inbox.nextMessage()
      if (first === undefined) return undefined
      const messages: NonEmptyArray<Message> = [first]
      let size = first.bytes.length
      while (inbox.batchHasRoom(size)) {
        const message = inbox.nextMessage()
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
    return this.readIfDecoded(decode, onInvalid, (first) => first, onEnd)
  }

  /** Reads the messages that are here, at least one, up to one that cannot be decoded. */
  readAllDecoded<A, E, E2, E3>(
    decode: MessageDecoder<A, E>,
    onInvalid: OnInvalid<E, E2>,
    onEnd: OnEnd<E3>
  ): Effect.Effect<NonEmptyArray<A>, E2 | E3> {
    return this.readIfDecoded(decode, onInvalid, (first, size, next) => {
      const all: NonEmptyArray<A> = [first]
      // Decoded values may be larger than what was received: a batch is limited by the mark.
      for (let total = size; total < this.highWaterMark && this.hasMessage();) {
        total += this.ready!.bytes.length + frameOverhead
        const value = next()
        if (Result.isFailure(value)) break
        all.push(value.success)
      }
      return all
    }, onEnd)
  }

  private readIfDecoded<A, B, E, E2, E3>(
    decode: MessageDecoder<A, E>,
    onInvalid: OnInvalid<E, E2>,
    collect: (first: A, size: number, next: () => Result.Result<A, E>) => B,
    onEnd: OnEnd<E3>
  ): Effect.Effect<B, E2 | E3> {
    /** Removes the message that is `ready`, unless it cannot be decoded. */
    const next = () => {
      const decoded = decode(this.ready!)
      if (Result.isSuccess(decoded)) this.ready = undefined
      return decoded
    }
    const read: Effect.Effect<B, E2 | E3> = Effect.catchDefect(
      new Reader(this, {
        isReady: ReceiveQueue.message.isReady,
        next: () => {
          if (!this.hasMessage()) return undefined
          const size = this.ready!.bytes.length + frameOverhead
          const first = next()
          if (Result.isFailure(first)) throw undecodable
          return collect(first.success, size, next)
        }
      }, onEnd),
      (defect) => defect === undecodable ? failing : Effect.die(defect)
    )
    // To fail takes a step more than to read. A fiber that has just yielded does not yield again between the two, so that
    // it cannot be interrupted there. Other fibers that wait were woken too, and one of them may read the message first.
    const failing = Effect.flatMap(Effect.yieldNow, (): Effect.Effect<B, E2 | E3> => {
      const decoded = this.hasMessage() ? decode(this.ready!) : undefined
      if (decoded === undefined || Result.isSuccess(decoded)) return read
      this.ready = undefined
      return onInvalid(decoded.failure)
    })
    return read
  }

  /** Takes the frames that are here, at least one. */
  readFrames<E>(ended: OnEnd<E>): Effect.Effect<NonEmptyArray<Frame>, E> {
    return new Reader(this, ReceiveQueue.frames, ended)
  }

  private static readonly frames: ReadOperation<NonEmptyArray<Frame>> = {
    isReady: (inbox) => inbox.hasWholeFrame(),
    next: (inbox) => {
      inbox.skipFragments()
      const first = inbox.nextWholeFrame()
      if (first === undefined) return undefined
      const frames: NonEmptyArray<Frame> = [first]
      let size = first.payload.length
      while (inbox.batchHasRoom(size)) {
        const frame = inbox.nextWholeFrame()
        if (frame === undefined) break
        frames.push(frame)
        size += frame.payload.length
      }
      return frames
    }
  }

  /** Takes the first fragment of the next message, with a token for those that follow. */
  readFirstFragment<E>(ended: OnEnd<E>): Effect.Effect<FirstFragment, E> {
    return new Reader(this, ReceiveQueue.beginning, ended)
  }

  private static readonly beginning: ReadOperation<FirstFragment> = {
    isReady: (inbox) => inbox.hasBeginning(),
    next: (inbox) => {
      const first = inbox.hasBeginning() ? inbox.nextFrame() : undefined
      if (first === undefined) return undefined
      const token = {}
      if (!first.fin) inbox.activeFragments = token
      return { first, token }
    }
  }

  /** Takes the next fragment of the message whose beginning came with `token`. */
  readFragment<E>(token: object, ended: OnEnd<E>): Effect.Effect<Frame, E | MessageSkipped> {
    const isSkipped = () => this.activeFragments !== token
    return Effect.catchDefect(
      new Reader(this, {
        isReady: () => isSkipped() || this.hasData(),
        next: () => {
          if (isSkipped()) throw skipped
          const frame = this.hasData() ? this.nextFrame() : undefined
          if (frame?.fin === true) this.activeFragments = undefined
          return frame
        }
      }, ended),
      (defect) => defect === skipped ? Effect.fail(new MessageSkipped()) : Effect.die(defect)
    )
  }

  /**
   * Whether a batch of this size goes on: it takes all that is here, except that
   * what extensions decode may be much larger than what came; so much as the
   * mark allows, then, at a time.
   */
  private batchHasRoom(size: number): boolean {
    return this.extensions === undefined || size < this.highWaterMark
  }

  /** Nothing that is not here already will come, and nothing is being decoded. */
  get isEnding(): boolean {
    return this.closed !== undefined && !this.isDecoding
  }

  /** A fiber waits with this take. */
  enqueue(take: Reader<any, any>): void {
    if (this.last === undefined) this.first = take
    else this.last.next = take
    this.last = take
  }

  /** Takes it out of the queue, if it is still there: to look whether it is due may have woken it. */
  private dequeue(take: Reader<any, any>): void {
    let before: Reader<any, any> | undefined
    for (let at = this.first; at !== take; at = at.next) {
      if (at === undefined) return
      before = at
    }
    if (before === undefined) this.first = take.next
    else before.next = take.next
    if (this.last === take) this.last = before
    take.next = undefined
  }

  /** Another is to wait: whose fibers were interrupted, and have ended, wait no more. */
  removeCancelled(): void {
    for (let take = this.first, next; take !== undefined; take = next) {
      next = take.next
      if (!take.isCancelled) continue
      this.dequeue(take)
      take.wake()
    }
  }

  /** Wakes who has something to do, or may have. */
  private wake(): void {
    for (let take = this.first; take !== undefined;) {
      if (take.isCancelled || this.probe(take)) {
        this.dequeue(take)
        take.wake()
        // Much may have happened meanwhile.
        take = this.first
      } else take = take.next
    }
  }

  private probe(take: Reader<any, any>): boolean {
    this.probing = true
    const due = take.isReady
    this.probing = false
    return due
  }

  // -- messages, frames ------------------------------------------------------

  /** Whether a whole message is here; it is in `ready` then. */
  private hasMessage(): boolean {
    while (this.ready === undefined) {
      const frame = this.peek()
      if (frame === undefined) return false
      if (this.probing && (isControl(frame) || this.activeFragments !== undefined)) return true
      this.shift()
      this.skipFragments()
      if (isControl(frame)) continue
      const message = this.assembler.push(frame)
      if (message instanceof MessageTooLarge) this.fail(message)
      else this.ready = message
    }
    return true
  }

  private nextMessage(): Message | undefined {
    const message = this.hasMessage() ? this.ready : undefined
    this.ready = undefined
    return message
  }

  /** The opcode of the next frame, or of the next part of a frame; undefined if nothing is here. */
  private get nextOpcode(): Opcode | undefined {
    const { ready } = this
    if (ready !== undefined) return ready._tag === "Text" ? Opcode.Text : Opcode.Binary
    return this.assembler.opcode ?? this.peek()?.opcode
  }

  /** Whether a whole frame is next. Joins the pieces of a large frame. */
  private hasWholeFrame(): boolean {
    if (this.ready !== undefined) return true
    const { assembler } = this
    if (assembler.unfinished && !assembler.isWithinFrame) return true
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

  /** Whether a data frame is next; control frames before it are passed over. */
  private hasData(): boolean {
    for (let frame = this.peek(); frame !== undefined && isControl(frame); frame = this.peek()) {
      if (this.probing) return true
      this.shift()
    }
    return this.nextOpcode !== undefined
  }

  /** Whether the beginning of a message is next; what is left of one before it is passed over. */
  private hasBeginning(): boolean {
    while (this.hasData()) {
      if (this.probing || this.nextOpcode !== Opcode.Continuation) return true
      this.skipFragments()
      this.nextFrame()
    }
    return false
  }

  private nextFrame(): Frame | undefined {
    const { ready } = this
    if (ready !== undefined) {
      this.ready = undefined
      return new Frame(ready._tag === "Text" ? Opcode.Text : Opcode.Binary, ready.bytes)
    }
    return this.assembler.giveBack() ?? this.shift()
  }

  /** Whoever asks for something else leaves the message that is being read in fragments. */
  private skipFragments(): void {
    if (this.activeFragments === undefined) return
    this.activeFragments = undefined
    soon(() => this.wake())
  }

  // -- the queue -------------------------------------------------------------

  private shift(): Frame | undefined {
    const frame = this.peek()
    this.decodedFrame = undefined
    return frame
  }

  /** The next frame, decoded; undefined where there is none, or where decoding it takes time. */
  private peek(): Frame | undefined {
    if (this.decodedFrame !== undefined || this.head === this.frames.length || this.pendingDecode !== undefined) {
      return this.decodedFrame
    }
    const frame = this.pop()
    if (this.extensions === undefined || isControl(frame)) return this.decodedFrame = frame
    const decoded = this.extensions.decode(frame)
    if (decoded instanceof Frame) return this.decodedFrame = decoded
    if (decoded instanceof Error) this.fail(decoded)
    else this.pendingDecode = decoded
    return undefined
  }

  private pop(): Frame {
    const frame = this.frames[this.head++]
    if (this.head === this.frames.length) {
      this.frames = emptyQueue
      this.head = 0
    } else if (this.head === 1024) {
      this.frames = this.frames.slice(this.head)
      this.head = 0
    }
    const before = this.bytes
    this.bytes -= frame.payload.length + frameOverhead
    const mark = this.highWaterMark / 2
    if (before > mark && this.bytes <= mark) this.source?.resume()
    return frame
  }

  /** Whether the next frame has to be decoded before anything can be taken, and nobody does it yet. */
  get hasToDecode(): boolean {
    return this.pendingDecode !== undefined && !this.isDecoding
  }

  /** Decodes the next frame. Once begun it is finished, because nobody could do it again. */
  get decodeNext(): Effect.Effect<void> {
    return Effect.uninterruptible(Effect.suspend(() => {
      // Another fiber may have come before.
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
          this.wake()
        }))
      )
    }))
  }

  private empty(): void {
    this.frames = emptyQueue
    this.head = 0
    this.bytes = 0
  }

  /** Fails the connection, and drops what is unread. Returns how the connection ended, with the error as the cause. */
  fail(error: ProtocolError | InvalidMessage): ConnectionClosed {
    this.empty()
    const closed = this.closed = this.source?.onDecodeError(error) ?? failedWith(this.closed!, error)
    this.wake()
    return closed
  }
}
