/**
 * The senders of a connection in a browser. They wait while more than the
 * high-water mark is buffered. A browser does not report when it has room again,
 * so the first one that waits starts a timer that looks.
 */
import * as Effect from "effect/Effect"
import type { WebSocketLike } from "../../BrowserClient.ts"
import type { ConnectionClosed } from "../../ConnectionError.ts"
import { isFixed, type Sendable } from "../connection/input.ts"
import { Opcode } from "../protocol/frame.ts"
import { decodeText } from "../protocol/message.ts"
import { toError } from "../runtime/describe.ts"
import { LinkedList, type Node } from "../runtime/linkedList.ts"
import type { Timer, Timers } from "../runtime/timers.ts"
import { states } from "./states.ts"

/** How often a connection above its high-water mark looks whether it has room, in milliseconds. */
export const pollInterval = 20

interface Waiting extends Node<Waiting> {
  readonly messages: ReadonlyArray<Sendable>
  readonly resume: (effect: Effect.Effect<void, ConnectionClosed>) => void
}

export class Outbox {
  private readonly socket: WebSocketLike
  private readonly timers: Timers
  private readonly highWaterMark: number
  /** Called when the socket throws for a message. It ends the connection, and closes this outbox. */
  private readonly onError: (error: Error) => void
  private readonly waiting = new LinkedList<Waiting>()
  private timer: Timer | undefined
  private closed: ConnectionClosed | undefined

  constructor(socket: WebSocketLike, timers: Timers, highWaterMark: number, onError: (error: Error) => void) {
    this.socket = socket
    this.onError = onError
    this.timers = timers
    this.highWaterMark = highWaterMark
  }

  /** Sends checked messages in one step, when there is room. A sender that is interrupted while it waits has sent nothing. */
  send(messages: ReadonlyArray<Sendable>): Effect.Effect<void, ConnectionClosed> {
    return Effect.suspend(() => {
      if (this.closed !== undefined) return Effect.fail(this.closed)
      if (this.waiting.size > 0 || !this.hasRoom) return this.wait(messages)
      this.write(messages)
      return this.closed === undefined ? Effect.void : Effect.fail(this.closed)
    })
  }

  /** Ends all waiting senders: the connection has ended. */
  close(closed: ConnectionClosed): void {
    this.closed = closed
    this.timers.cancel(this.timer)
    for (const sender of this.waiting) {
      this.waiting.delete(sender)
      sender.resume(Effect.fail(closed))
    }
  }

  /** Once closing has begun, the browser would drop what is sent. Senders wait until it is known how the connection ended. */
  private get hasRoom(): boolean {
    return this.socket.readyState === states.open && this.socket.bufferedAmount <= this.highWaterMark
  }

  private wait(messages: ReadonlyArray<Sendable>): Effect.Effect<void, ConnectionClosed> {
    return Effect.callback((resume) => {
      const sender: Waiting = { messages, resume, previous: undefined, next: undefined }
      this.waiting.add(sender)
      if (this.waiting.size === 1) this.schedule()
      return Effect.sync(() => {
        this.waiting.delete(sender)
        if (this.waiting.size === 0) this.timers.cancel(this.timer)
      })
    })
  }

  private schedule(): void {
    this.timer = this.timers.schedule(pollInterval, () => this.resumeSenders())
  }

  private resumeSenders(): void {
    for (let sender = this.waiting.first; sender !== undefined; sender = this.waiting.first) {
      if (!this.hasRoom) return this.schedule()
      this.waiting.delete(sender)
      this.write(sender.messages)
      sender.resume(this.closed === undefined ? Effect.void : Effect.fail(this.closed))
    }
  }

  private write(messages: ReadonlyArray<Sendable>): void {
    try {
      for (const message of messages) this.socket.send(dataOf(message))
    } catch (error) {
      this.onError(toError(error))
    }
  }
}

/** A browser rejects bytes in memory that other threads share or that can be resized. */
const dataOf = (message: Sendable): string | Uint8Array<ArrayBuffer> => {
  if (typeof message === "string") return message
  const { opcode, payload } = message
  if (opcode === Opcode.Text) return decodeText(payload)
  return (isFixed(payload) ? payload : payload.slice()) as Uint8Array<ArrayBuffer>
}
