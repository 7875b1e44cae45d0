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
import { constVoid } from "effect/Function"
import * as Result from "effect/Result"
import { type ConnectionClosed, type InvalidMessage, MessageSkipped } from "../ConnectionError.ts"
import { Frame, isControl, Opcode } from "../Frame.ts"
import { Assembler, type Message } from "../Message.ts"
import type { ProtocolError } from "../ProtocolError.ts"
import type { Extensions } from "./extensions.ts"

/** What a frame costs beyond its payload, in bytes, so that empty ones are not free. */
const frameOverhead = 64

/** Thrown by a take that another fiber came before; never seen outside. */
const cameLate = Symbol("cameLate")

/** Thrown by a take that found a message which cannot be decoded; never seen outside. */
const undecodable = Symbol("undecodable")

/** What a program makes of messages. It may be asked twice about the same one. */
export type Decode<A> = (message: Message) => Result.Result<A, InvalidMessage>

/** What taking comes to when there is nothing left to take. */
type Ended<E> = (closed: ConnectionClosed) => Effect.Effect<never, E>

/** What a take is made of. */
interface Take {
  readonly ready: () => boolean
  /** Takes, or goes back to `takeOrWait` when another fiber came before. */
  readonly taken: Effect.Effect<unknown, unknown>
  readonly takeOrWait: Effect.Effect<unknown, unknown>
  /** A waiter that no fiber waits with. */
  spare: Waiter | undefined
}

/**
 * A fiber that waits. To wake one for nothing does no harm: it looks, and waits
 * again. So the waiter of a take, and the effect that undoes it, can be used
 * again and again: what is made for each wait lives until the next read, and
 * that is dear where there are many connections.
 */
class Waiter {
  readonly take: Take
  readonly cancel: Effect.Effect<void>
  resume: (effect: Effect.Effect<never>) => void = constVoid

  constructor(take: Take, cancel: (waiter: Waiter) => void) {
    this.take = take
    this.cancel = Effect.sync(() => cancel(this))
  }

  go(ended: boolean): void {
    const { take } = this
    take.spare = this
    // What a take gives is known to whoever waits with it.
    this.resume((ended ? take.takeOrWait : take.taken) as Effect.Effect<never>)
  }
}

/** A queue with nothing in it. Nothing is ever put into this one: a new array takes its place. */
const none: Array<Frame> = []

/** Where frames come from. */
export interface Source {
  /** The inbox was over its mark, and has room again. */
  readonly resume: () => void
  /** A frame or a message cannot be decoded: the connection fails. Answers how it ended, for those who wait for more. */
  readonly fail: (error: ProtocolError | InvalidMessage) => ConnectionClosed
}

export class Inbox {
  private readonly highWaterMark: number
  private readonly source: Source
  private readonly extensions: Extensions | undefined

  private frames = none
  private head = 0
  private bytes = 0

  /** The next frame, decoded. */
  private front: Frame | undefined
  /** The decoding of the next frame, where that takes time. */
  private decoding: Effect.Effect<Frame, ProtocolError> | undefined
  private decodingRuns = false

  /** A message that is whole and not taken yet. */
  private ready: Message | undefined
  private readonly assembler = new Assembler()
  /** The message that is being read in fragments, if there is one. */
  private streamed: object | undefined

  private closed: ConnectionClosed | undefined
  private readonly waiting: Array<Waiter> = []

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
    if (this.head === this.frames.length) {
      this.frames = frames
      this.head = 0
    } else {
      for (let i = 0; i < frames.length; i++) this.frames.push(frames[i])
    }
    for (let i = 0; i < frames.length; i++) this.bytes += frames[i].payload.length + frameOverhead
    this.wake()
  }

  /** Nothing more will come. What is here can still be taken. */
  close(closed: ConnectionClosed): void {
    if (this.closed !== undefined) return
    this.closed = closed
    this.wakeAll()
  }

  // -- taking ----------------------------------------------------------------

  /** Takes the next message. */
  takeMessage<E>(ended: Ended<E>): Effect.Effect<Message, E> {
    return this.take(() => this.hasMessage(), () => this.nextMessage(), ended)
  }

  /** Takes the messages that are here, at least one. */
  takeMessages<E>(ended: Ended<E>): Effect.Effect<NonEmptyArray<Message>, E> {
    return this.take(() => this.hasMessage(), () => {
      const first = this.nextMessage()
      if (first === undefined) return undefined
      const messages: NonEmptyArray<Message> = [first]
      let size = first.bytes.length
      while (this.takesMore(size)) {
        const message = this.nextMessage()
        if (message === undefined) break
        messages.push(message)
        size += message.bytes.length
      }
      return messages
    }, ended)
  }

  /**
   * Takes the next message as what `decode` makes of it. What cannot be decoded
   * is taken by whoever fails with it; where it is fatal, the connection fails.
   */
  takeDecoded<A, E>(decode: Decode<A>, fatal: boolean, ended: Ended<E>): Effect.Effect<A, E | InvalidMessage> {
    return this.takeIfDecoded(decode, fatal, (first) => first, ended)
  }

  /** Takes the messages that are here, at least one, up to one that cannot be decoded; that one, if it is the first. */
  takeAllDecoded<A, E>(
    decode: Decode<A>,
    fatal: boolean,
    ended: Ended<E>
  ): Effect.Effect<NonEmptyArray<A>, E | InvalidMessage> {
    return this.takeIfDecoded(decode, fatal, (first, size, next) => {
      const all: NonEmptyArray<A> = [first]
      // What is decoded may be larger than what came: so much as the mark allows at a time.
      for (let total = size; total < this.highWaterMark && this.hasMessage();) {
        total += this.ready!.bytes.length + frameOverhead
        const value = next()
        if (Result.isFailure(value)) break
        all.push(value.success)
      }
      return all
    }, ended)
  }

  private takeIfDecoded<A, B, E>(
    decode: Decode<A>,
    fatal: boolean,
    take: (first: A, size: number, next: () => ReturnType<Decode<A>>) => B,
    ended: Ended<E>
  ): Effect.Effect<B, E | InvalidMessage> {
    /** Takes the message that is `ready`, unless it cannot be decoded. */
    const next = () => {
      const decoded = decode(this.ready!)
      if (Result.isSuccess(decoded)) this.ready = undefined
      return decoded
    }
    const taken: Effect.Effect<B, E | InvalidMessage> = Effect.catchDefect(
      this.take(() => this.hasMessage(), () => {
        if (!this.hasMessage()) return undefined
        const size = this.ready!.bytes.length + frameOverhead
        const first = next()
        if (Result.isFailure(first)) throw undecodable
        return take(first.success, size, next)
      }, ended),
      (defect) => defect === undecodable ? failing : Effect.die(defect)
    )
    // Failing takes a step more than the take. A fiber that has just yielded is not made to yield between the two, so
    // that it cannot be interrupted there; and whoever else waits was woken too, and would find the message here.
    const failing = Effect.flatMap(Effect.yieldNow, (): Effect.Effect<B, E | InvalidMessage> => {
      const decoded = this.hasMessage() ? decode(this.ready!) : undefined
      // Another fiber may have come before.
      if (decoded === undefined || Result.isSuccess(decoded)) return taken
      this.ready = undefined
      return fatal ? ended(this.fail(decoded.failure)) : Effect.fail(decoded.failure)
    })
    return taken
  }

  /** Takes the frames that are here, at least one. */
  takeFrames<E>(ended: Ended<E>): Effect.Effect<NonEmptyArray<Frame>, E> {
    return this.take(() => this.hasFrame(), () => {
      this.leaveStreamed()
      const first = this.nextFrame()
      if (first === undefined) return undefined
      const frames: NonEmptyArray<Frame> = [first]
      let size = first.payload.length
      while (this.takesMore(size)) {
        const frame = this.nextFrame()
        if (frame === undefined) break
        frames.push(frame)
        size += frame.payload.length
      }
      return frames
    }, ended)
  }

  /** Takes the first fragment of the next message, with a token for those that follow. */
  takeBeginning<E>(ended: Ended<E>): Effect.Effect<{ readonly first: Frame; readonly token: object }, E> {
    return this.take(() => this.hasBeginning(), () => {
      const first = this.hasBeginning() ? this.nextFrame() : undefined
      if (first === undefined) return undefined
      const token = {}
      if (!first.fin) this.streamed = token
      return { first, token }
    }, ended)
  }

  /** Takes the next fragment of the message whose beginning came with `token`. */
  takeFragment<E>(token: object, ended: Ended<E>): Effect.Effect<Frame, E | MessageSkipped> {
    const skipped = () => this.streamed !== token
    const taken = this.take(
      () => skipped() || this.hasData(),
      () => {
        if (skipped()) return new MessageSkipped()
        const frame = this.hasData() ? this.nextFrame() : undefined
        if (frame?.fin === true) this.streamed = undefined
        return frame
      },
      ended
    )
    return Effect.flatMap(taken, (it) => it instanceof Frame ? Effect.succeed(it) : Effect.fail(it))
  }

  /**
   * Whether a batch of this size goes on: it takes all that is here, except that
   * what extensions decode may be much larger than what came; so much as the
   * mark allows, then, at a time.
   */
  private takesMore(size: number): boolean {
    return this.extensions === undefined || size < this.highWaterMark
  }

  /**
   * An effect that waits until something is `ready`, and takes it in its last
   * step, or is `ended` when nothing is there and nothing will come. A fiber
   * that was made to yield between the check and the take may come late, and
   * goes back to waiting.
   */
  private take<A, E>(ready: () => boolean, next: () => A | undefined, ended: Ended<E>): Effect.Effect<A, E> {
    const taken: Effect.Effect<A, E> = Effect.catchDefect(
      Effect.sync(() => {
        const value = next()
        if (value === undefined) throw cameLate
        return value
      }),
      (defect) => defect === cameLate ? takeOrWait : Effect.die(defect)
    )
    const wait = Effect.callback<A, E>((resume) => {
      // It may have been made to yield since it looked.
      if (this.concerns(ready) || this.closed !== undefined) return resume(takeOrWait)
      const waiter = take.spare ?? new Waiter(take, (it) => this.leave(it))
      take.spare = undefined
      waiter.resume = resume
      this.waiting.push(waiter)
      return waiter.cancel
    })
    const takeOrWait: Effect.Effect<A, E> = Effect.suspend(() => {
      if (ready()) return taken
      if (this.decoding !== undefined) {
        return this.decodingRuns ? wait : Effect.andThen(this.runDecoding, takeOrWait)
      }
      return this.closed === undefined ? wait : ended(this.closed)
    })
    const take: Take = { ready, taken, takeOrWait, spare: undefined }
    return takeOrWait
  }

  /** A fiber was interrupted while it waited, or before it could take what it was woken for. */
  private leave(waiter: Waiter): void {
    const index = this.waiting.indexOf(waiter)
    if (index >= 0) {
      this.waiting.splice(index, 1)
      // It may be another fiber's by now.
      waiter.go(this.closed !== undefined)
    }
    this.wake()
  }

  /** Wakes who waits for what is here, first come first served. */
  private wake(): void {
    for (let i = 0; i < this.waiting.length;) {
      const waiter = this.waiting[i]
      if (this.concerns(waiter.take.ready)) {
        if (this.waiting.length === 1) this.waiting.pop()
        else this.waiting.splice(i, 1)
        waiter.go(this.closed !== undefined)
        // Much may have happened meanwhile.
        i = 0
      } else i++
    }
  }

  private wakeAll(): void {
    for (const waiter of this.waiting.splice(0)) waiter.go(true)
  }

  /** Whether there is something to do for who waits until something is `ready`: to take it, or to decode it first. */
  private concerns(ready: () => boolean): boolean {
    return ready() || (this.decoding !== undefined && !this.decodingRuns)
  }

  // -- messages, frames ------------------------------------------------------

  /** Whether a whole message is here; it is in `ready` then. */
  private hasMessage(): boolean {
    while (this.ready === undefined) {
      const frame = this.shift()
      if (frame === undefined) return false
      this.leaveStreamed()
      if (!isControl(frame)) this.ready = this.assembler.push(frame)
    }
    return true
  }

  private nextMessage(): Message | undefined {
    const message = this.hasMessage() ? this.ready : undefined
    this.ready = undefined
    return message
  }

  private hasFrame(): boolean {
    return this.ready !== undefined || this.assembler.unfinished || this.peek() !== undefined
  }

  /** Whether a data frame is next; control frames before it are passed over. */
  private hasData(): boolean {
    for (let frame = this.peek(); frame !== undefined && isControl(frame); frame = this.peek()) this.shift()
    return this.hasFrame()
  }

  /** Whether the beginning of a message is next; what is left of one before it is passed over. */
  private hasBeginning(): boolean {
    while (this.hasData()) {
      if (this.ready !== undefined || this.assembler.unfinished) return true
      if (this.peek()!.opcode !== Opcode.Continuation) return true
      this.leaveStreamed()
      this.shift()
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
  private leaveStreamed(): void {
    if (this.streamed === undefined) return
    this.streamed = undefined
    queueMicrotask(() => this.wake())
  }

  // -- the queue -------------------------------------------------------------

  private shift(): Frame | undefined {
    const frame = this.peek()
    this.front = undefined
    return frame
  }

  /** The next frame, decoded; undefined where there is none, or where decoding it takes time. */
  private peek(): Frame | undefined {
    if (this.front !== undefined || this.head === this.frames.length || this.decoding !== undefined) return this.front
    const frame = this.pop()
    if (this.extensions === undefined || isControl(frame)) return this.front = frame
    const decoded = this.extensions.decode(frame)
    if (decoded instanceof Frame) return this.front = decoded
    if (decoded instanceof Error) this.fail(decoded)
    else this.decoding = decoded
    return undefined
  }

  private pop(): Frame {
    const frame = this.frames[this.head++]
    if (this.head === this.frames.length) {
      this.frames = none
      this.head = 0
    } else if (this.head === 1024) {
      this.frames = this.frames.slice(this.head)
      this.head = 0
    }
    const before = this.bytes
    this.bytes -= frame.payload.length + frameOverhead
    const mark = this.highWaterMark / 2
    if (before > mark && this.bytes <= mark) this.source.resume()
    return frame
  }

  /** Decodes the next frame. Once begun it is finished, because nobody could do it again. */
  private get runDecoding(): Effect.Effect<void> {
    return Effect.uninterruptible(Effect.suspend(() => {
      // Another fiber may have come before.
      if (this.decoding === undefined || this.decodingRuns) return Effect.void
      this.decodingRuns = true
      return this.decoding.pipe(
        Effect.match({
          onSuccess: (frame) => {
            this.front = frame
          },
          onFailure: (error) => this.fail(error)
        }),
        Effect.ensuring(Effect.sync(() => {
          this.decoding = undefined
          this.decodingRuns = false
          this.wake()
        }))
      )
    }))
  }

  private fail(error: ProtocolError | InvalidMessage): ConnectionClosed {
    this.frames = none
    this.head = 0
    this.bytes = 0
    const closed = this.closed = this.source.fail(error)
    this.wakeAll()
    return closed
  }
}
