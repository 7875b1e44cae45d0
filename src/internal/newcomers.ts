/**
 * Sockets on which no request has come yet. Anybody can open one, and say
 * nothing. Each has so much time, and there may be so many; one more, and the
 * oldest has to go, which has had the most time to say something, so that those
 * who take their time cannot keep others out.
 */
import type { Socket } from "node:net"
import type { Timer, Timers } from "./timers.ts"

interface Newcomer {
  /** Nothing once it has left: a Map may keep what was in it for a while (see `Members`). */
  socket: Socket | undefined
  readonly since: number
  readonly leave: () => void
}

export class Newcomers {
  private readonly max: number
  /** How long each may stay, in milliseconds. */
  private readonly timeout: number
  private readonly timers: Timers
  /** What is written to a socket before it is cut; "" where that would make no sense to whoever reads it. */
  private readonly farewell: string
  /** The oldest first. Over TLS, who asks is another object than who came: the two have the same address and port. */
  private readonly sockets = new Map<string, Newcomer>()
  /** For the oldest; one for all. */
  private timer: Timer | undefined
  private stopped = false

  constructor(max: number, timeout: number, timers: Timers, farewell: string) {
    this.farewell = farewell
    this.max = max
    this.timeout = timeout
    this.timers = timers
  }

  /** Somebody has come. */
  add(socket: Socket): void {
    if (this.stopped) return void socket.destroy()
    const name = nameOf(socket)
    if (name === undefined) return
    const leave = () => {
      this.sockets.delete(name)
      newcomer.socket = undefined
    }
    const newcomer: Newcomer = { socket, since: this.timers.now(), leave }
    this.sockets.set(name, newcomer)
    socket.on("close", leave)
    this.timer ??= this.timers.schedule(this.timeout, () => this.sweep())
    if (this.sockets.size > this.max) this.cut(this.oldest!)
  }

  /** The request has come. Answers how long that took, in milliseconds. */
  remove(socket: Socket): number {
    const name = nameOf(socket)
    const newcomer = name === undefined ? undefined : this.sockets.get(name)
    if (newcomer === undefined) return 0
    newcomer.socket!.off("close", newcomer.leave)
    newcomer.leave()
    return this.timers.now() - newcomer.since
  }

  /** Nobody is waited for any more. A server that closes would wait: Node does not know those who have not finished TLS. */
  stop(): void {
    this.stopped = true
    this.timers.cancel(this.timer)
    for (const { leave, socket } of this.sockets.values()) {
      socket!.off("close", leave)
      socket!.destroy()
    }
    this.sockets.clear()
  }

  private get oldest(): Newcomer | undefined {
    for (const newcomer of this.sockets.values()) return newcomer
    return undefined
  }

  private cut(newcomer: Newcomer): void {
    const socket = newcomer.socket!
    newcomer.leave()
    if (this.farewell === "") return void socket.destroy()
    socket.write(this.farewell)
    socket.destroySoon()
  }

  /** Cuts whoever has had its time, and waits for the next. */
  private sweep(): void {
    this.timer = undefined
    const now = this.timers.now()
    for (let next = this.oldest; next !== undefined; next = this.oldest) {
      const left = next.since + this.timeout - now
      if (left > 0) {
        this.timer = this.timers.schedule(left, () => this.sweep())
        return
      }
      this.cut(next)
    }
  }
}

/** What tells it apart from all others; nothing, where it came through this machine and not a network. */
const nameOf = ({ remoteAddress, remotePort }: Socket): string | undefined =>
  remotePort === undefined ? undefined : `${remoteAddress} ${remotePort}`
