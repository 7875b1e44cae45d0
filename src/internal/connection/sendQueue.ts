/**
 * What a connection writes. Frames of one turn are collected and leave in one
 * write; data waits while the transport is over its mark, or while a message in
 * fragments is being sent; control frames pass both.
 *
 * Only `Connection` touches this. A frame is taken whole and at once, so that
 * there is no point at which an interruption could leave half of one.
 */
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import { Buffer } from "node:buffer"
import type { SendOptions } from "../../Extension.ts"
import { encodeHeader, encodeInto, Frame, headerSize, Opcode } from "../../Frame.ts"
import { type ConnectionClosed, InvalidInput } from "../../ConnectionError.ts"
import { maskInPlace } from "../protocol/masking.ts"
import type { Transport } from "../../Transport.ts"
import type { Extensions } from "./extensionPipeline.ts"
import { failInvalid, findDetached, frameFrom, isFixed, type Sendable, toFrame } from "./input.ts"
import type { ConnectionMetrics } from "../telemetry/metrics.ts"
import type { Protocol } from "../protocol/connectionProtocol.ts"
import type { Timers } from "../runtime/timers.ts"
import { nextTurn, soon } from "../runtime/turns.ts"

/** Payloads up to this size are copied into slabs; larger ones into memory of their own. */
const slabUpTo = 4 * 1024

/**
 * Payloads above this size are written as they are, behind a header of their own, if the transport takes them at once.
 * A copy would cost a third of the write; up to here, it costs a tenth or less.
 */
const copyThreshold = 64 * 1024

/** What a turn has collected beyond this is handed on at once, so that `send` learns in time that there is no room. */
const flushThreshold = 64 * 1024

/**
 * Small frames are encoded into slabs that all connections share, one after the
 * other. Whoever wrote last goes on where it ended; when another connection
 * takes its turn, or it is time to write, what the last one wrote becomes a
 * chunk of its own. So a turn's frames are one chunk, and no byte is copied twice.
 */
const slabSize = 32 * 1024
let slab = Buffer.allocUnsafeSlow(slabSize)
let slabStart = 0
let slabEnd = 0
let slabWriter: SendQueue | undefined

/** In UTF-8, of what a string is made of; a pair of them makes four bytes. */
const maxBytesPerCodeUnit = 3

const textHeader = { opcode: Opcode.Text, fin: true, reserved: 0 }

/** No chunks. Nothing is ever put into this one: most turns write one chunk, and a new array is made with it. */
const noChunks: Array<Uint8Array> = []

/** Who has something to write at the end of this turn. */
let scheduled: Array<SendQueue> = []

const flushScheduled = () => {
  const outboxes = scheduled
  scheduled = []
  for (const outbox of outboxes) outbox.flush()
}

/** What was last put together: what many connections are sent in one turn is the same for all of them. */
const chunkCache = {
  chunks: noChunks,
  chunk: Buffer.alloc(0) as Uint8Array,
  both: noChunks,
  parts: noChunks,
  joined: noChunks
}

/** Chunks and one more, as a list that is shared by all who ask for it, and not changed. */
const appendShared = (chunks: Array<Uint8Array>, chunk: Uint8Array): Array<Uint8Array> => {
  if (chunks !== chunkCache.chunks || chunk !== chunkCache.chunk) {
    chunkCache.chunks = chunks
    chunkCache.chunk = chunk
    chunkCache.both = [...chunks, chunk]
  }
  return chunkCache.both
}

/** Small chunks as one. Who is sent less than others in a turn may have made them a list of their own, of the same. */
const coalesce = (parts: Array<Uint8Array>): Array<Uint8Array> => {
  const { parts: before } = chunkCache
  if (parts !== before && (parts.length !== before.length || parts.some((part, i) => part !== before[i]))) {
    chunkCache.parts = parts
    chunkCache.joined = [Buffer.concat(parts)]
  }
  return chunkCache.joined
}

/** Who writes: whoever is in the middle of a message of several frames, or control frames, which may stand between those. */
export const controlToken = "control"
/** Writes also while the transport is over its mark, and passes those that wait for room. */
export const beyondMark = "beyondMark"
type WriteToken = object | typeof controlToken | typeof beyondMark

const noOptions: SendOptions = {}

/** A frame whose payload the program cannot change. */
const ownFrame = ({ fin, opcode, payload, reserved }: Frame): Frame => new Frame(opcode, payload.slice(), fin, reserved)

/** Writes at once; or begins to, where an extension takes its time, and is not interrupted then. */
type Write = () => Effect.Effect<void, ConnectionClosed>

/** Whose outbox it is, and who is told that the peer reads more slowly than it is sent to. */
export interface SendQueueHost {
  readonly meter: ConnectionMetrics
  readonly timers: Timers
  /** The transport is over its mark. */
  readonly onHighWaterMark: () => void
  /** Somebody waits for room in it. */
  readonly onBlocked: () => void
  /** No sender waits for room or its turn any more. */
  readonly onNoneWaiting: () => void
  /** Programs that send or ping are told that the connection has ended. */
  readonly onTold: () => void
}

export interface SendQueueOptions {
  /** What is sent in one turn leaves in one write. */
  readonly coalesce: boolean
  /** Where the key of each mask comes from. Servers mask nothing (§5.1). */
  readonly maskKey?: (() => number) | undefined
  readonly extensions?: Extensions | undefined
}

export class SendQueue {
  readonly owner: SendQueueHost
  private readonly transport: Transport
  private readonly protocol: Protocol
  private readonly coalesce: boolean
  private readonly maskKey: (() => number) | undefined
  private readonly extensions: Extensions | undefined

  /** What leaves with the next flush, before what is in the slab. */
  private chunks = noChunks
  /** Whether that list is others' too, and must not be changed. */
  private shared = true
  /**
   * Whether a payload of the program's is among them, as it is. It leaves before `send` returns: if the program
   * transferred or resized its buffer first, a header without its payload would go out.
   */
  private borrowed = false
  /** How much leaves with the next flush. */
  private pending = 0
  /** Whether the end of a turn will flush. */
  private corked = false
  private flushScheduled = false

  /** Whether the transport is over its mark. */
  private isOverMark = false
  /** How often it has been. */
  congestions = 0
  /** Which of these times `isBehind` was asked about, and which of those was found to be longer than a turn. */
  private asked = 0
  private lasting = 0
  /** How much had been written when it last got over its mark. */
  private writtenToMark = 0
  /** Who is in the middle of a message of several frames; others' data waits. */
  private sender: object | undefined
  /** Who waits to send, first come first served. */
  private readonly waiting: Array<Waiter> = []

  messagesOut = 0
  framesOut = 0
  bytesOut = 0
  /** Messages that were left out because the peer reads too slowly. */
  messagesSkipped = 0

  constructor(owner: SendQueueHost, transport: Transport, protocol: Protocol, options: SendQueueOptions) {
    this.owner = owner
    this.transport = transport
    this.protocol = protocol
    this.coalesce = options.coalesce
    this.maskKey = options.maskKey
    this.extensions = options.extensions
  }

  // -- room ------------------------------------------------------------------

  /** Whether the transport is over its mark, so that no more than what is owed should be written. */
  get overHighWaterMark(): boolean {
    return this.isOverMark
  }

  /** How the connection stands, once no frame may be sent any more. */
  get closed(): ConnectionClosed | undefined {
    return this.protocol.canSend ? undefined : this.protocol.closed
  }

  /** Fails with how the connection stands, once no frame may be sent any more. */
  failClosed(): Effect.Effect<never, ConnectionClosed> {
    this.owner.onTold()
    return Effect.fail(this.protocol.closed)
  }

  /**
   * Runs `write` when there is room and it is this sender's turn; fails when
   * nothing can be sent any more.
   */
  send(
    write: Write,
    sender?: WriteToken,
    takesTime = this.extensions !== undefined
  ): Effect.Effect<void, ConnectionClosed> {
    if (takesTime) return this.sendInTurn(write, sender)
    return Effect.suspend(() => this.canWrite(sender) ? write() : this.sendInTurn(write, sender))
  }

  /** Whether frames may be written at once, as they are: there is room, and no extension has to see them. */
  canWriteImmediately(sender?: WriteToken): boolean {
    return this.extensions === undefined && this.canWrite(sender)
  }

  /**
   * Whether so many bytes wait that were written over the mark. What this turn has written does not count: the peer
   * had no time to take it.
   */
  isBehind(most: number): boolean {
    if (!this.isOverMark) return false
    if (this.asked !== this.congestions) {
      const asked = this.asked = this.congestions
      nextTurn(() => {
        this.lasting = asked
      })
    }
    if (this.lasting !== this.congestions) return false
    return Math.min(this.bufferedAmount, this.bytesOut - this.writtenToMark) >= most
  }

  /** Whether this sender may write at once. */
  canWrite(sender?: WriteToken): boolean {
    return this.protocol.canSend && this.canSend(sender) && (sender !== undefined || this.waiting.length === 0)
  }

  /**
   * What `send` does when that takes time: because there is no room, or because
   * extensions do. Waiting for the turn can be interrupted, the turn cannot.
   */
  private sendInTurn(write: Write, sender: WriteToken | undefined): Effect.Effect<void, ConnectionClosed> {
    return Effect.uninterruptibleMask((restore) => {
      if (this.canWrite(sender)) return write()
      const turn: Effect.Effect<void, ConnectionClosed> = Effect.suspend(() => {
        if (!this.protocol.canSend) return this.failClosed()
        return this.canSend(sender) ? write() : wait
      })
      const wait = Effect.andThen(restore(this.awaitCapacity(sender)), turn)
      return this.protocol.canSend ? wait : turn
    })
  }

  /** Waits for the turn of a sender. */
  private awaitCapacity(sender: WriteToken | undefined): Effect.Effect<void> {
    return Effect.callback((resume) => {
      // It may have been made to yield since it looked.
      if (!this.protocol.canSend || this.canWrite(sender)) return resume(Effect.void)
      const waiter: Waiter = { sender, wake: () => resume(Effect.void) }
      this.waiting.push(waiter)
      if (this.isOverMark) this.owner.onBlocked()
      return Effect.sync(() => {
        const index = this.waiting.indexOf(waiter)
        if (index >= 0) this.removeWaiting(index)
        // It had its turn and was interrupted before it could use it.
        else this.wakeWaiters()
      })
    })
  }

  /** The transport has room again. */
  drained(): void {
    this.isOverMark = false
    this.owner.meter.outboundBackpressure.stop(this, this.owner.timers.now())
    this.wakeWaiters()
  }

  /** Nothing can be written any more: lets all go who wait, to find that out. */
  close(): void {
    this.owner.meter.outboundBackpressure.stop(this, this.owner.timers.now())
    if (this.waiting.length > 0) this.owner.onTold()
    for (const waiter of this.waiting.splice(0)) waiter.wake()
  }

  /** Keeps others' data out while `sender` is in the middle of a message. */
  beginMessage(sender: object): void {
    this.sender = sender
  }

  isMessageOf(sender: object): boolean {
    return this.sender === sender
  }

  endMessage(sender: object): void {
    if (this.sender !== sender) return
    this.sender = undefined
    this.wakeWaiters()
  }

  private canSend(sender: WriteToken | undefined): boolean {
    if (this.isOverMark && sender !== beyondMark) return false
    return this.sender === undefined || this.sender === sender || sender === controlToken
  }

  private wakeWaiters(): void {
    while (this.waiting.length > 0) {
      const index = this.waiting.findIndex((waiter) => this.canSend(waiter.sender))
      if (index < 0) return
      this.removeWaiting(index).wake()
    }
  }

  /** Whether a sender waits for room or for its turn. */
  get hasWaiting(): boolean {
    return this.waiting.length > 0
  }

  private removeWaiting(index: number): Waiter {
    const [waiter] = this.waiting.splice(index, 1)
    if (this.waiting.length === 0) this.owner.onNoneWaiting()
    return waiter
  }

  // -- writing ---------------------------------------------------------------

  /** The bytes that were written and have not left yet. */
  get bufferedAmount(): number {
    return this.pending + this.transport.bufferedAmount()
  }

  /** The bytes that have left this process. */
  get bytesFlushed(): number {
    return this.bytesOut - this.bufferedAmount
  }

  /** Takes a message as it is. It leaves with this turn. */
  writeMessage(message: Sendable): void {
    this.encodeMessage(message)
    this.messagesOut++
    this.scheduleFlush()
  }

  /** Takes messages as they are. They leave together. */
  writeMessages(messages: ReadonlyArray<Sendable>): void {
    for (let i = 0; i < messages.length; i++) this.encodeMessage(messages[i])
    this.messagesOut += messages.length
    this.scheduleFlush()
  }

  /**
   * Takes messages that were encoded for others too, as servers send them without extensions; they leave together.
   * Answers false if it cannot take them so, or not at once.
   */
  writeEncoded(bytes: Uint8Array, messages: number, sender: WriteToken | undefined): boolean {
    if (this.maskKey !== undefined || !this.canWriteImmediately(sender)) return false
    this.sealSlab()
    this.messagesOut += messages
    this.framesOut += messages
    this.bytesOut += bytes.length
    this.pending += bytes.length
    if (this.shared && this.pending <= slabUpTo) this.chunks = appendShared(this.chunks, bytes)
    else this.pushChunk(bytes)
    this.scheduleFlush()
    return true
  }

  /** Takes a frame as it is. It leaves with this turn. */
  write(frame: Frame): void {
    this.encode(frame)
    this.scheduleFlush()
  }

  /** Takes data frames, and passes them through the extensions. They leave together. Then runs `after`. */
  writeData(
    frames: ReadonlyArray<Frame>,
    options: SendOptions | undefined,
    after: () => void = constVoid
  ): Effect.Effect<void, ConnectionClosed> {
    const detached = findDetached(frames)
    if (detached !== undefined) return failInvalid(detached)
    for (let i = 0; i < frames.length; i++) {
      const outcome = this.extensions === undefined
        ? frames[i]
        : this.extensions.encode(frames[i], options ?? noOptions)
      if (Effect.isEffect(outcome)) {
        // What was put is complete, and what is left is no longer the program's: the turn ends here.
        this.scheduleFlush()
        return this.finishEncoding(outcome, frames.slice(i + 1).map(ownFrame), options, after)
      }
      const problem = this.encodeData(outcome)
      if (problem !== undefined) return failInvalid(problem)
    }
    this.scheduleFlush()
    after()
    return Effect.void
  }

  /** What `writeData` does when an extension takes its time over a frame: the next may refer to it, so it is finished. */
  private finishEncoding(
    encoding: Effect.Effect<Frame>,
    rest: ReadonlyArray<Frame>,
    options: SendOptions | undefined,
    after: () => void
  ): Effect.Effect<void, ConnectionClosed> {
    return Effect.uninterruptible(this.writeBehind(encoding, (frame) => {
      const problem = this.encodeData(frame)
      return problem === undefined ? this.writeData(rest, options, after) : failInvalid(problem)
    }))
  }

  /** A write that takes time. It takes its place now, and writes when `begin` has succeeded. Until then it can be interrupted, and has written nothing. */
  writeAfter(begin: Effect.Effect<void>, write: Write): Effect.Effect<void, ConnectionClosed> {
    return this.writeBehind(Effect.interruptible(begin), write)
  }

  /** Others' data waits until `work` is done, and what is made of it was written. */
  private writeBehind<A>(
    work: Effect.Effect<A>,
    write: (made: A) => Effect.Effect<void, ConnectionClosed>
  ): Effect.Effect<void, ConnectionClosed> {
    const holder = this.sender ?? work
    this.beginMessage(holder)
    return Effect.ensuring(
      Effect.flatMap(work, (made) => this.protocol.canSend ? write(made) : this.failClosed()),
      Effect.sync(() => {
        if (holder === work) this.endMessage(holder)
      })
    )
  }

  /** What an extension made is checked as what a program sends. */
  private encodeData(encoded: Frame): InvalidInput | undefined {
    const frame = this.extensions === undefined ? encoded : frameFrom(encoded)
    if (frame instanceof InvalidInput) return frame
    this.encode(frame)
    if (frame.fin) this.messagesOut++
    return undefined
  }

  private encodeMessage(message: Sendable): void {
    if (typeof message === "string" && message.length * maxBytesPerCodeUnit <= slabUpTo) this.encodeText(message)
    else this.encode(toFrame(message))
  }

  /**
   * Takes a short string. It is encoded where its bytes belong, without a frame
   * or an array of its own, which would take five times as long.
   */
  private encodeText(string: string): void {
    const maskKey = this.maskKey?.()
    const masked = maskKey !== undefined
    // Where it would begin if it were ASCII; what is not may need a longer header.
    const guess = headerSize(string.length, masked)
    this.claimSlab(guess + 2 + string.length * maxBytesPerCodeUnit)
    const at = slabEnd
    const length = slab.write(string, at + guess)
    const header = headerSize(length, masked)
    if (header > guess) slab.copyWithin(at + header, at + guess, at + guess + length)
    encodeHeader(slab, at, textHeader, length, maskKey)
    slabEnd = at + header + length
    if (masked) maskInPlace(slab, at + header, slabEnd, maskKey, 0)
    this.count(header + length)
  }

  private count(size: number): void {
    this.framesOut++
    this.bytesOut += size
    this.pending += size
  }

  private encode(frame: Frame): void {
    const { payload } = frame
    const maskKey = this.maskKey?.()
    const header = headerSize(payload.length, maskKey !== undefined)
    const size = header + payload.length
    this.count(size)
    if (payload.length <= slabUpTo) {
      this.claimSlab(size)
      slabEnd = encodeInto(slab, slabEnd, frame, maskKey)
      return
    }
    this.sealSlab()
    if (
      maskKey === undefined && payload.length > copyThreshold && this.transport.immediate?.() === true &&
      isFixed(payload)
    ) {
      const bytes = new Uint8Array(header)
      encodeHeader(bytes, 0, frame, payload.length, undefined)
      this.pushChunk(bytes)
      this.pushChunk(payload)
      this.borrowed = true
    } else {
      const bytes = Buffer.allocUnsafe(size)
      encodeInto(bytes, 0, frame, maskKey)
      this.pushChunk(bytes)
    }
  }

  private pushChunk(chunk: Uint8Array): void {
    if (this.shared) {
      this.chunks = this.chunks === noChunks ? [chunk] : [...this.chunks, chunk]
      this.shared = false
    } else {
      this.chunks.push(chunk)
    }
  }

  private scheduleFlush(): void {
    if (!this.coalesce || this.borrowed || this.pending >= flushThreshold) this.flush()
    else if (!this.corked && !this.flushScheduled) {
      this.flushScheduled = true
      if (scheduled.push(this) === 1) soon(flushScheduled)
    }
  }

  /** Collects what is written until `release`, unless it is very much. */
  cork(): void {
    this.corked = true
  }

  uncork(): void {
    this.corked = false
    this.flush()
  }

  /** Hands all that was taken to the transport. */
  flush(): void {
    this.flushScheduled = false
    this.borrowed = false
    this.sealSlab()
    if (this.chunks.length === 0) return
    const chunks = this.chunks.length > 1 && this.pending <= slabUpTo ? coalesce(this.chunks) : this.chunks
    this.chunks = noChunks
    this.shared = true
    this.pending = 0
    if (this.transport.write(chunks)) return
    if (!this.isOverMark) {
      this.congestions++
      this.writtenToMark = this.bytesOut
    }
    this.isOverMark = true
    this.owner.onHighWaterMark()
    if (this.protocol.state !== "Closed") this.owner.meter.outboundBackpressure.start(this, this.owner.timers.now())
  }

  private claimSlab(size: number): void {
    if (slabWriter === this && slabEnd + size <= slabSize) return
    slabWriter?.sealSlab()
    slabWriter = this
    if (slabEnd + size <= slabSize) return
    slab = Buffer.allocUnsafeSlow(slabSize)
    slabStart = 0
    slabEnd = 0
  }

  private sealSlab(): void {
    if (slabWriter !== this) return
    this.pushChunk(slab.subarray(slabStart, slabEnd))
    slabWriter = undefined
    slabStart = slabEnd
  }
}

interface Waiter {
  readonly sender: WriteToken | undefined
  readonly wake: () => void
}
