/** Messages that a reconnecting client keeps for its next connection. */
import type { SendOptions } from "../../Extension.ts"
import type * as Message from "../../Message.ts"
import { copyOf, sizeOf } from "../connection/input.ts"

/** What one call has sent. */
interface Buffered {
  readonly messages: ReadonlyArray<Message.Input>
  readonly options: SendOptions | undefined
  /** In bytes. */
  readonly size: number
}

/** A buffer with a limit on messages, and one on their bytes. */
export class SendBuffer {
  private readonly maxMessages: number
  private readonly maxBytes: number
  private readonly queue: Array<Buffered> = []
  private messages = 0
  private bytes = 0

  constructor(maxMessages: number, maxBytes: number) {
    this.maxMessages = maxMessages
    this.maxBytes = maxBytes
  }

  /** Adds copies of the messages, because the program may reuse its buffers. Returns false if there is no room for them. */
  add(messages: ReadonlyArray<Message.Input>, options: SendOptions | undefined): boolean {
    const size = messages.reduce((total, message) => total + sizeOf(message), 0)
    if (this.messages + messages.length > this.maxMessages || this.bytes + size > this.maxBytes) return false
    this.queue.push({ messages: messages.map(copyOf), options, size })
    this.messages += messages.length
    this.bytes += size
    return true
  }

  get first(): Buffered | undefined {
    return this.queue.at(0)
  }

  removeFirst(): void {
    const first = this.queue.shift()
    if (first === undefined) return
    this.messages -= first.messages.length
    this.bytes -= first.size
  }

  clear(): void {
    this.queue.length = 0
    this.messages = 0
    this.bytes = 0
  }
}
