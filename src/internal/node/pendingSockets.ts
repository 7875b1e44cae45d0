/**
 * Sockets that have not sent a request. Each is closed after `timeout`. Above
 * `max`, the oldest is closed, so that idle sockets cannot block new clients.
 *
 * Time during which this process was blocked does not count, because the request
 * may have been in the kernel all that time.
 */
import type { Duplex } from "node:stream"
import type { Timer, Timers } from "../runtime/timers.ts"
import { nextTurn } from "../runtime/turns.ts"

/** A socket, or another stream, which has neither address nor port. */
type Socket = Duplex & { readonly remoteAddress?: string | undefined; readonly remotePort?: number | undefined }

/** How many timers there are per `timeout`. A timer that fires late shows that this process was blocked. */
const checksPerTimeout = 4

interface PendingSocket {
  /** Undefined once removed: a Map may keep a deleted entry in memory until it grows again. */
  socket: Socket | undefined
  /** In milliseconds, without the time during which this process was blocked. */
  readonly connectedAt: number
  readonly forget: () => void
  readonly close: () => void
}

export class PendingSockets {
  private readonly max: number
  /** In milliseconds. */
  private readonly timeout: number
  private readonly timers: Timers
  /** Written to a socket before it is closed; "" if its client could not read it. */
  private readonly timeoutResponse: string
  /** The oldest first. */
  private readonly sockets = new Map<string | Duplex, PendingSocket>()
  /** The timer of the next check; one for all sockets. */
  private timer: Timer | undefined
  private isScheduled = false
  /** How late timers were in total, in milliseconds. */
  private blocked = 0
  private stopped = false

  constructor(max: number, timeout: number, timers: Timers, timeoutResponse: string) {
    this.max = max
    this.timeout = timeout
    this.timers = timers
    this.timeoutResponse = timeoutResponse
  }

  /**
   * Adds a socket that is expected to send a request. Does nothing if it was added
   * before. `close` closes the socket when it times out or is the oldest above `max`.
   */
  add(socket: Socket, close: () => void = () => this.respond(socket)): void {
    if (this.stopped) return void socket.destroy()
    const key = socketKey(socket)
    if (socket.destroyed || this.sockets.has(key)) return
    const forget = () => {
      this.sockets.delete(key)
      pending.socket = undefined
    }
    const pending: PendingSocket = { socket, connectedAt: this.now(), forget, close }
    this.sockets.set(key, pending)
    socket.on("close", forget)
    this.schedule()
    if (this.sockets.size > this.max) this.evict(this.oldest!)
  }

  /** Removes a socket that has sent its request. Returns how long that took, in milliseconds. */
  remove(socket: Socket): number {
    const pending = this.sockets.get(socketKey(socket))
    if (pending === undefined) return 0
    pending.socket!.off("close", pending.forget)
    pending.forget()
    return this.now() - pending.connectedAt
  }

  /** Destroys all sockets, for which a closing server would wait: Node's `closeAllConnections` omits those in a TLS handshake. */
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
    for (const pending of this.sockets.values()) return pending
    return undefined
  }

  private now(): number {
    return this.timers.now() - this.blocked
  }

  private evict(pending: PendingSocket): void {
    pending.forget()
    pending.close()
  }

  private respond(socket: Socket): void {
    if (this.timeoutResponse === "") return void socket.destroy()
    socket.end(this.timeoutResponse, () => socket.destroy())
  }

  /** Schedules a check for when the oldest socket times out, or earlier, to notice a blocked process. */
  private schedule(): void {
    const { oldest } = this
    if (oldest === undefined || this.isScheduled) return
    this.isScheduled = true
    const remaining = Math.max(0, oldest.connectedAt + this.timeout - this.now())
    const delay = Math.min(remaining, this.timeout / checksPerTimeout)
    const due = this.timers.now() + delay
    this.timer = this.timers.schedule(delay, () => this.check(due))
  }

  private check(due: number): void {
    this.isScheduled = false
    this.blocked += Math.max(0, this.timers.now() - due)
    // Data that is already in the kernel is read before sockets are evicted.
    if (this.isExpired(this.oldest)) nextTurn(() => this.evictExpired())
    else this.schedule()
  }

  private evictExpired(): void {
    if (this.stopped) return
    for (let next = this.oldest; this.isExpired(next); next = this.oldest) this.evict(next)
    this.schedule()
  }

  private isExpired(pending: PendingSocket | undefined): pending is PendingSocket {
    return pending !== undefined && pending.connectedAt + this.timeout <= this.now()
  }
}

/**
 * Returns what identifies a socket. Over TLS, the object that emits requests is not
 * the object that was accepted: both have the same address and port, or, without a
 * network, the accepted object is the parent of the other.
 */
const socketKey = (socket: Socket): string | Duplex =>
  socket.remotePort === undefined
    ? (socket as { readonly _parent?: Duplex })._parent ?? socket
    : `${socket.remoteAddress} ${socket.remotePort}`
