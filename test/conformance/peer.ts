/** The other end of TCP: it writes what it is told to, and keeps what it hears. */
import type { Socket } from "node:net"
import { opcodes, Reader } from "./wire.ts"

const headEnd = "\r\n\r\n"

/** A turn of the event loop, in which the other end reads what was written. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

export class Peer {
  readonly socket: Socket
  readonly reader: Reader
  /** The head of the HTTP message that has come, once all of it has. */
  head: string | undefined
  /** How the other end ended its half of TCP, once it has. */
  ended: "in order" | "by a reset" | undefined
  /** TCP is gone, in both directions. */
  gone = false
  /** Time is up. */
  late = false

  private heard = ""
  private readonly timer: NodeJS.Timeout
  private readonly watchers = new Set<() => void>()

  constructor(socket: Socket, fromClient: boolean, patience: number) {
    this.socket = socket
    this.reader = new Reader(fromClient)
    socket.setNoDelay(true)
    socket.on("data", (chunk) => this.hear(chunk))
    socket.on("end", () => this.end("in order"))
    socket.on("error", () => this.end("by a reset"))
    socket.on("close", () => {
      this.gone = true
      clearTimeout(this.timer)
      this.changed()
    })
    this.timer = setTimeout(() => {
      this.late = true
      this.changed()
    }, patience)
  }

  /** Whether nothing more can come, or is waited for. */
  get over(): boolean {
    return this.ended !== undefined || this.gone || this.late
  }

  /** Whether the other end has sent a close frame. */
  get closed(): boolean {
    return this.reader.frames.some(({ opcode }) => opcode === opcodes.close)
  }

  /** Writes bytes in pieces of a size, each of them a segment of its own. */
  async write(bytes: Buffer, size = Math.max(1, bytes.length)): Promise<void> {
    for (let at = 0; at < bytes.length && !this.over; at += size) {
      await new Promise<void>((resolve) => this.socket.write(bytes.subarray(at, at + size), () => resolve()))
      await turn()
    }
  }

  /** Waits until the condition holds, or nothing more can come. */
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const watch = () => {
        if (!condition() && !this.over) return
        this.watchers.delete(watch)
        resolve()
      }
      this.watchers.add(watch)
      watch()
    })
  }

  /** Gives the other end the time to react where it should not; answers whether it did nothing. */
  async quiet(): Promise<boolean> {
    const before = this.reader.frames.length
    for (let i = 0; i < 20; i++) await turn()
    return this.reader.frames.length === before && this.ended === undefined
  }

  /** Ends TCP, and waits until it is gone. */
  async leave(): Promise<void> {
    if (this.late) this.socket.destroy()
    else this.socket.end()
    await new Promise<void>((resolve) => {
      if (this.gone) resolve()
      else this.socket.once("close", () => resolve())
    })
  }

  private hear(chunk: Buffer): void {
    if (this.head !== undefined) this.reader.push(chunk)
    else {
      this.heard += chunk.toString("latin1")
      const end = this.heard.indexOf(headEnd)
      if (end >= 0) {
        this.head = this.heard.slice(0, end)
        this.reader.push(Buffer.from(this.heard.slice(end + headEnd.length), "latin1"))
      }
    }
    this.changed()
  }

  private end(how: "in order" | "by a reset"): void {
    this.ended ??= how
    this.changed()
  }

  private changed(): void {
    for (const watch of this.watchers) watch()
  }
}
