/**
 * From a host to a socket: the name is looked up, its addresses are tried as
 * RFC 8305 says, and TLS is put over the socket. `Attempt` is what a client
 * knows about one connection that it wants, and owns all sockets on the way.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Latch from "effect/Latch"
// The default export is the one that programs replace functions of.
import dns from "node:dns"
import type * as Http from "node:http"
import * as Net from "node:net"
import type { Duplex } from "node:stream"
import * as Tls from "node:tls"
import {
  type AddressTried,
  ConnectFailed,
  type HandshakeRejected,
  HandshakeTimeout,
  type Phase
} from "../../HandshakeError.ts"
import type { ConnectOptions } from "../../WebSocketClient.ts"
import { shown } from "../protocol/url.ts"

/** How far a client has got with one connection, and what there is to clear away if it comes to nothing. */
export class Attempt {
  url: URL
  phase: Phase = "lookup"
  http: Http.ClientRequest | undefined
  /** The server has rejected the handshake, and the body is not complete yet: what is known by now. */
  rejected: (() => HandshakeRejected) | undefined
  private addresses: Array<Writable<AddressTried>> = []
  private readonly sockets = new Set<Duplex>()

  constructor(url: URL) {
    this.url = url
  }

  /** Destroys this socket with the attempt, from now on. Without a listener, an error would end the process. */
  own<S extends Duplex>(socket: S): S {
    this.sockets.add(socket)
    return socket.on("error", constVoid)
  }

  /** Notes that an address is being tried. */
  trying(address: string, port: number): Writable<AddressTried> {
    const tried = { address, port, code: undefined }
    this.addresses.push(tried)
    return tried
  }

  /** Goes on with another URL, without anything of the last. */
  redirect(url: URL): void {
    this.abandon()
    this.url = url
    this.addresses = []
  }

  abandon(): void {
    this.http?.destroy()
    for (const socket of this.sockets) socket.destroy()
    this.sockets.clear()
  }

  failed(cause: NodeJS.ErrnoException): ConnectFailed {
    const addresses = this.addresses.length === 0 ? addressesOf(cause) : this.tried()
    return new ConnectFailed({ url: shown(this.url), phase: this.phase, code: cause.code, addresses, cause })
  }

  timedOut(duration: Duration.Duration): HandshakeTimeout {
    return new HandshakeTimeout({ url: shown(this.url), phase: this.phase, duration, addresses: this.tried() })
  }

  private tried(): ReadonlyArray<AddressTried> {
    return this.addresses.map((tried) => ({ ...tried }))
  }
}

/** The addresses that Node names in an error, where an agent has tried them. */
const addressesOf = (cause: Error): ReadonlyArray<AddressTried> =>
  (cause instanceof AggregateError ? cause.errors : [cause]).flatMap(({ address, code, port }) =>
    address === undefined ? [] : [{ address, port, code }]
  )

type Writable<A> = { -readonly [K in keyof A]: A[K] }

// -----------------------------------------------------------------------------
// TCP
// -----------------------------------------------------------------------------

/** Where to connect to. A proxy's address is looked up and tried within the phase "proxy". */
export interface Target {
  readonly host: string
  readonly port: number
  readonly phase?: "proxy"
}

/** Connects to a host: to all of its addresses, if need be. */
export const dial = Effect.fnUntraced(function*(
  attempt: Attempt,
  { host, phase, port }: Target,
  { connectionAttemptDelay = "250 millis", lookup = systemLookup }: ConnectOptions
): Effect.fn.Return<Net.Socket, Error> {
  attempt.phase = phase ?? "lookup"
  const addresses = Net.isIP(host) === 0 ? yield* Effect.flatMap(lookup(host), (found) => checked(host, found)) : [host]
  attempt.phase = phase ?? "connect"
  const errors: Array<Error> = []
  const sockets: Array<Net.Socket> = []
  const connect = (address: string) =>
    Effect.suspend(() => {
      const tried = attempt.trying(address, port)
      const socket = attempt.own(Net.connect({ host: address, port, noDelay: true }))
      sockets.push(socket)
      return Effect.mapError(ready(socket), (error) => {
        tried.code = error.code
        errors.push(error)
      })
    })
  const reached = yield* Effect.mapError(
    firstReached(interleaved(addresses), connectionAttemptDelay, connect),
    () => errors.length === 1 ? errors[0] : allFailed(errors)
  )
  for (const socket of sockets) if (socket !== reached) socket.destroy()
  return reached
})

/** Connects to a Unix socket. */
export const dialPath = (attempt: Attempt, path: string): Effect.Effect<Net.Socket, Error> =>
  Effect.suspend(() => {
    attempt.phase = "connect"
    return ready(attempt.own(Net.connect({ path })))
  })

/** As Node looks names up for its own sockets. */
const systemLookup = (host: string): Effect.Effect<ReadonlyArray<string>, Error> =>
  Effect.callback((resume) => {
    const hints = process.platform === "win32" ? 0 : dns.ADDRCONFIG
    dns.lookup(host, { all: true, hints }, (error, found) =>
      resume(
        error === null
          ? Effect.succeed(found.map(({ address }) => address))
          : Effect.fail(error)
      ))
  })

/** What a lookup found, if all of it is addresses: a name would be looked up by Node once more. */
const checked = (host: string, found: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<string>, Error> => {
  const failed = (problem: string, code: string) =>
    Effect.fail(Object.assign(new Error(`lookup of ${host}: ${problem}`), { code }))
  const other = found.find((address) => Net.isIP(address) === 0)
  if (other !== undefined) return failed(`expected IP addresses, got "${other}"`, "ERR_INVALID_IP_ADDRESS")
  return found.length === 0 ? failed("it has no addresses", "ENOTFOUND") : Effect.succeed(found)
}

/** The addresses of both families in turn, those of the first one's family first (RFC 8305 §4). */
const interleaved = (addresses: ReadonlyArray<string>): ReadonlyArray<string> => {
  const family = Net.isIP(addresses[0])
  const preferred = addresses.filter((address) => Net.isIP(address) === family)
  const others = addresses.filter((address) => Net.isIP(address) !== family)
  return [
    ...preferred.flatMap((address, i) => [address, ...others.slice(i, i + 1)]),
    ...others.slice(preferred.length)
  ]
}

/**
 * Tries the first address, and the others as well once that has failed, or has
 * taken longer than `delay` (RFC 8305 §5). The first to be reached wins.
 */
const firstReached = <E>(
  [address, ...others]: ReadonlyArray<string>,
  delay: Duration.Input,
  connect: (address: string) => Effect.Effect<Net.Socket, E>
): Effect.Effect<Net.Socket, E> => {
  if (others.length === 0) return connect(address)
  return Effect.suspend(() => {
    const failed = Latch.makeUnsafe(false)
    return Effect.raceAll([
      Effect.tapError(connect(address), () => failed.open),
      Effect.andThen(Effect.timeoutOption(failed.await, delay), firstReached(others, delay, connect))
    ])
  })
}

const allFailed = (errors: ReadonlyArray<NodeJS.ErrnoException>): Error =>
  Object.assign(new AggregateError(errors, "no address was reached"), { code: errors[0].code })

// -----------------------------------------------------------------------------
// Sockets
// -----------------------------------------------------------------------------

/** Puts TLS over a socket. What is written after this goes to a server whose certificate was verified. */
export const secure = (
  attempt: Attempt,
  socket: Duplex,
  options: Tls.ConnectionOptions
): Effect.Effect<Tls.TLSSocket, Error> => Effect.suspend(() => ready(attempt.own(Tls.connect({ ...options, socket }))))

/** Waits until a socket is connected, and its TLS handshake is over. Any other stream is ready as it is. */
export const ready = <S extends Duplex>(socket: S): Effect.Effect<S, NodeJS.ErrnoException> =>
  Effect.callback((resume) => {
    if (socket.destroyed) return resume(Effect.fail(lossOf(socket)))
    const event = awaited(socket)
    if (event === undefined) return resume(Effect.succeed(socket))
    const settle = (effect: () => Effect.Effect<S, Error>) => () => {
      socket.off(event, onReady)
      socket.off("close", onClose)
      resume(effect())
    }
    const onReady = settle(() => Effect.succeed(socket))
    const onClose = settle(() => Effect.fail(lossOf(socket)))
    socket.on(event, onReady)
    socket.on("close", onClose)
  })

/** Which event says that a socket is ready, if it is not. */
export const awaited = (socket: Duplex): "connect" | "secureConnect" | undefined => {
  if ("secureConnecting" in socket && socket.secureConnecting === true) return "secureConnect"
  return "connecting" in socket && socket.connecting === true ? "connect" : undefined
}

export const lossOf = (socket: Duplex): NodeJS.ErrnoException =>
  socket.errored ?? Object.assign(new Error("the stream was closed"), { code: "ECONNRESET" })
