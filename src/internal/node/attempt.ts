/** The progress of one attempt to connect over Node's sockets, and all sockets that belong to it. */
import type * as Duration from "effect/Duration"
import { constVoid } from "effect/Function"
import type * as Http from "node:http"
import type { Duplex } from "node:stream"
import {
  type AddressTried,
  ConnectFailed,
  type HandshakeRejected,
  HandshakeTimeout,
  type Phase
} from "../../HandshakeError.ts"
import type * as Client from "../client/handshake.ts"
import { shown } from "../protocol/url.ts"
import { codeOf, errorsOf, fieldOf, toError } from "../runtime/describe.ts"

/** What an attempt waits for, and has tried. Attempts that wait for the same HTTP/2 session share it. */
interface Progress {
  phase: Phase
  readonly addresses: Array<Writable<AddressTried>>
}

export class Attempt implements Client.Attempt {
  url: URL
  http: Http.ClientRequest | undefined
  rejection: (() => HandshakeRejected) | undefined
  private progress: Progress = { phase: "lookup", addresses: [] }
  /** The HTTP/2 session that carries the request. */
  session: { readonly suspect: () => void } | undefined
  /** What belongs to the attempt, and how to destroy it. */
  private readonly sockets = new Map<Duplex, () => void>()

  constructor(url: URL) {
    this.url = url
  }

  get phase(): Phase {
    return this.progress.phase
  }

  set phase(phase: Phase) {
    this.progress.phase = phase
  }

  /** Waits for what another attempt does, and shares its progress. */
  join(other: Attempt): void {
    this.progress = other.progress
  }

  /** Continues alone behind the attempt that it has joined. */
  leave(phase: Phase): void {
    this.progress = { phase, addresses: [...this.progress.addresses] }
  }

  /** Takes ownership of a socket: `destroy` destroys it. Without a listener, an error would end the process. */
  own<S extends Duplex>(socket: S, destroy: () => void = () => socket.destroy()): S {
    if (!this.sockets.has(socket)) socket.on("error", constVoid)
    this.sockets.set(socket, destroy)
    return socket
  }

  /** Leaves a socket to a connection, which listens to its errors from then on. */
  release(socket: Duplex): void {
    this.sockets.delete(socket)
    socket.off("error", constVoid)
  }

  /** Records that an address is tried; the caller sets the `code` if that fails. */
  addAddress(address: string, port: number): Writable<AddressTried> {
    const tried = { address, port, code: undefined }
    this.progress.addresses.push(tried)
    return tried
  }

  redirect(url: URL): void {
    this.destroy()
    this.url = url
    this.session = undefined
    this.progress = { phase: "lookup", addresses: [] }
  }

  destroy(): void {
    this.http?.destroy()
    for (const destroy of this.sockets.values()) destroy()
    this.sockets.clear()
  }

  /** A program's agent may fail with anything. */
  failed(cause: unknown): ConnectFailed {
    const addresses = this.progress.addresses.length === 0 ? addressesIn(cause) : this.addressesTried()
    return new ConnectFailed({
      url: shown(this.url),
      phase: this.phase,
      code: codeOf(cause),
      addresses,
      cause: toError(cause)
    })
  }

  /** What the attempt fails with once its time is over. A rejection counts although its body is not complete. */
  timedOut(duration: Duration.Duration): HandshakeRejected | HandshakeTimeout {
    if (this.rejection !== undefined) return this.rejection()
    const { phase, url } = this
    if (phase === "response") this.session?.suspect()
    return new HandshakeTimeout({ url: shown(url), phase, duration, addresses: this.addressesTried() })
  }

  /** A copy, because attempts go on after an error was made. */
  private addressesTried(): ReadonlyArray<AddressTried> {
    return this.progress.addresses.map((tried) => ({ ...tried }))
  }
}

type Writable<A> = { -readonly [K in keyof A]: A[K] }

/** The addresses that Node names in an error of an agent's socket. */
const addressesIn = (cause: unknown): ReadonlyArray<AddressTried> =>
  errorsOf(cause).flatMap((error) => {
    const [address, port] = [fieldOf(error, "address"), fieldOf(error, "port")]
    return typeof address === "string" && typeof port === "number" ? [{ address, port, code: codeOf(error) }] : []
  })
