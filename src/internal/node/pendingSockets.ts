/**
 * Sockets that owe a request: a client may open one and send nothing. Each has so
 * much time, and there may be so many; one more, and the oldest is cut, which has
 * had the most time to send a request, so that slow clients cannot keep others out.
 *
 * Time in which this process was blocked does not count: the request may have been
 * in the kernel all that time.
 */
import type { Duplex } from "node:stream"
import type { Timer, Timers } from "../runtime/timers.ts"
import { nextTurn } from "../runtime/turns.ts"

/** A socket, or a stream in place of one, which has neither address nor port. */
type Socket = Duplex & { readonly remoteAddress?: string | undefined; readonly remotePort?: number | undefined }

/** How many looks there are while a socket has its time. A look that is late shows that this process was blocked. */
const looks = 4

interface PendingSocket {
  /** Nothing once it has left: a Map may keep what was in it for a while (see `Members`). */
  socket: Socket | undefined
  /** In milliseconds, without pauses. */
  readonly connectedAt: number
  readonly forget: () => void
}

export class PendingSockets {
  private readonly max: number
  /** How long each may stay, in milliseconds. */
  private readonly timeout: number
  private readonly timers: Timers
  /** What is written to a socket before it is cut; "" where its client could not read that. */
  private readonly timeoutResponse: string
  /** The oldest first. */
  private readonly sockets = new Map<string | Duplex, PendingSocket>()
  /** For the next look; one for all. */
  private timer: Timer | undefined
  private isWaiting = false
  /** How long this process was blocked, as far as looks were late, in milliseconds. */
  private paused = 0
  private stopped = false

  constructor(max: number, timeout: number, timers: Timers, farewell: string) {
    this.timeoutResponse = farewell
    this.max = max
    this.timeout = timeout
    this.timers = timers
  }

  /** The socket owes a request from now on, unless it does already. */
  add(socket: Socket): void {
    if (this.stopped) return void socket.destroy()
    const key = keyOf(socket)
    if (socket.destroyed || this.sockets.has(key)) return
    const forget = () => {
      this.sockets.delete(key)
      newcomer.socket = undefined
    }
    const newcomer: PendingSocket = { socket, connectedAt: this.now(), forget }
    this.sockets.set(key, newcomer)
    socket.on("close", forget)
    this.wait()
    if (this.sockets.size > this.max) this.evict(this.oldest!)
  }

  /** The request has come. Returns how long that took, in milliseconds. */
  remove(socket: Socket): number {
    const newcomer = this.sockets.get(keyOf(socket))
    if (newcomer === undefined) return 0
    newcomer.socket!.off("close", newcomer.forget)
    newcomer.forget()
    return this.now() - newcomer.connectedAt
  }

  /** Cuts all. A server that closes would wait: Node does not know sockets that have not finished TLS. */
  stop(): void {
    this.stopped = true
    this.timers.cancel(this.timer)
    for (const { forget, socket } of this.sockets.values()) {
      socket!.off("close", forget)
      socket!.destroy()
    }
    this.sockets.clear()
  }

  private get oldest(): PendingSocket | undefined {
    for (const newcomer of this.sockets.values()) return newcomer
    return undefined
  }

  private now(): number {
    return this.timers.now() - this.paused
  }

  private evict(newcomer: PendingSocket): void {
    const socket = newcomer.socket!
    newcomer.forget()
    if (this.timeoutResponse === "") return void socket.destroy()
    socket.end(this.timeoutResponse, () => socket.destroy())
  }

  /** Looks again when the oldest has had its time, or before. */
  private wait(): void {
    const { oldest } = this
    if (oldest === undefined || this.isWaiting) return
    this.isWaiting = true
    const left = Math.max(0, oldest.connectedAt + this.timeout - this.now())
    const delay = Math.min(left, this.timeout / looks)
    const due = this.timers.now() + delay
    this.timer = this.timers.schedule(delay, () => this.look(due))
  }

  private look(due: number): void {
    this.isWaiting = false
    this.paused += Math.max(0, this.timers.now() - due)
    // What has come by now is read before the verdict.
    if (this.isLate(this.oldest)) nextTurn(() => this.evictExpired())
    else this.wait()
  }

  private evictExpired(): void {
    if (this.stopped) return
    for (let next = this.oldest; this.isLate(next); next = this.oldest) this.evict(next)
    this.wait()
  }

  private isLate(newcomer: PendingSocket | undefined): newcomer is PendingSocket {
    return newcomer !== undefined && newcomer.connectedAt + this.timeout <= this.now()
  }
}

/**
 * What tells a socket apart from all others. Over TLS, the object that has requests is not the one that was accepted:
 * the two have the same address and port, or, without a network, one is the other's parent.
 */
const keyOf = (socket: Socket): string | Duplex =>
  socket.remotePort === undefined
    ? (socket as { readonly _parent?: Duplex })._parent ?? socket
    : `${socket.remoteAddress} ${socket.remotePort}`
