/**
 * Sockets on which no request has come yet. Anybody can open one, and say
 * nothing. There may be so many; then the oldest has to go, which has had the
 * most time to say something, so that those who take their time cannot keep
 * others out.
 */
import type { Socket } from "node:net"
import type { Timers } from "./timers.ts"

interface Newcomer {
  readonly socket: Socket
  readonly since: number
  readonly leave: () => void
}

export class Newcomers {
  private readonly max: number
  private readonly timers: Timers
  /** The oldest first. Over TLS, who asks is another object than who came: the two have the same address and port. */
  private readonly sockets = new Map<string, Newcomer>()

  constructor(max: number, timers: Timers) {
    this.max = max
    this.timers = timers
  }

  /** Somebody has come. */
  add(socket: Socket): void {
    const name = nameOf(socket)
    if (name === undefined) return
    const leave = () => this.sockets.delete(name)
    this.sockets.set(name, { socket, since: this.timers.now(), leave })
    socket.once("close", leave)
    if (this.sockets.size <= this.max) return
    const [oldest] = this.sockets.values()
    oldest.leave()
    oldest.socket.destroy()
  }

  /** The request has come. Answers how long that took, in milliseconds. */
  remove(socket: Socket): number {
    const name = nameOf(socket)
    const newcomer = name === undefined ? undefined : this.sockets.get(name)
    if (newcomer === undefined) return 0
    newcomer.leave()
    newcomer.socket.off("close", newcomer.leave)
    return this.timers.now() - newcomer.since
  }
}

/** What tells it apart from all others; nothing, where it came through this machine and not a network. */
const nameOf = ({ remoteAddress, remotePort }: Socket): string | undefined =>
  remotePort === undefined ? undefined : `${remoteAddress} ${remotePort}`
