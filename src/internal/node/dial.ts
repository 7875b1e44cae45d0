/** Opens sockets: looks a host up, tries its addresses as RFC 8305 describes, and starts TLS. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Latch from "effect/Latch"
import type * as Net from "node:net"
import type { Duplex } from "node:stream"
import type * as Tls from "node:tls"
import type { ConnectOptions } from "../../WebSocketClient.ts"
import { dns, net, tls } from "../runtime/builtins.ts"
import type { Attempt } from "./attempt.ts"

// -----------------------------------------------------------------------------
// TCP
// -----------------------------------------------------------------------------

/** A host and port to connect to. The lookup of a proxy, and its attempts, belong to the phase "proxy". */
export interface Target {
  readonly host: string
  readonly port: number
  readonly phase?: "proxy"
}

/** Connects to a host: to one address after the other, until one is reached. */
export const dial = (
  attempt: Attempt,
  { host, phase, port }: Target,
  { connectionAttemptDelay = "250 millis", lookup = systemLookup }: ConnectOptions
): Effect.Effect<Net.Socket, Error> =>
  Effect.suspend(() => {
    const connect = (addresses: ReadonlyArray<string>) => {
      attempt.phase = phase ?? "connect"
      return addresses.length === 1
        ? connectTo(attempt, addresses[0], port, constVoid)
        : connectToFirst(attempt, addresses, port, connectionAttemptDelay)
    }
    if (net().isIP(host) !== 0) return connect([host])
    attempt.phase = phase ?? "lookup"
    return lookup(host).pipe(
      Effect.flatMap((found) => checkAddresses(host, found)),
      Effect.flatMap(connect)
    )
  })

/** Connects to one address. `onSocket` gets the socket before it is connected. */
const connectTo = (
  attempt: Attempt,
  address: string,
  port: number,
  onSocket: (socket: Net.Socket) => void
): Effect.Effect<Net.Socket, NodeJS.ErrnoException> =>
  Effect.suspend(() => {
    const tried = attempt.addAddress(address, port)
    const socket = attempt.own(net().connect({ host: address, port, noDelay: true }))
    onSocket(socket)
    return Effect.mapError(ready(socket), (error) => {
      tried.code = error.code
      return error
    })
  })

/** Connects to several addresses as RFC 8305 describes, and drops all sockets but one. */
const connectToFirst = (
  attempt: Attempt,
  addresses: ReadonlyArray<string>,
  port: number,
  delay: Duration.Input
): Effect.Effect<Net.Socket, Error> => {
  const errors: Array<NodeJS.ErrnoException> = []
  const sockets: Array<Net.Socket> = []
  const connect = (address: string) =>
    Effect.tapError(
      connectTo(attempt, address, port, (socket) => sockets.push(socket)),
      (error) => Effect.sync(() => errors.push(error))
    )
  return firstReached(interleaved(addresses), delay, connect).pipe(
    Effect.mapError(() => allFailed(errors)),
    Effect.tap((reached) => Effect.sync(() => sockets.forEach((socket) => socket === reached || socket.destroy())))
  )
}

/** Connects to a Unix socket. */
export const dialPath = (attempt: Attempt, path: string): Effect.Effect<Net.Socket, Error> =>
  Effect.suspend(() => {
    attempt.phase = "connect"
    return ready(attempt.own(net().connect({ path })))
  })

/** Looks a host up as Node does for its own sockets. */
const systemLookup = (host: string): Effect.Effect<ReadonlyArray<string>, Error> =>
  Effect.callback((resume) => {
    const hints = process.platform === "win32" ? 0 : dns().ADDRCONFIG
    dns().lookup(host, { all: true, hints }, (error, found) =>
      resume(
        error === null
          ? Effect.succeed(found.map(({ address }) => address))
          : Effect.fail(error)
      ))
  })

/** Fails unless a lookup has found only IP addresses: Node would look a name up again. */
const checkAddresses = (host: string, found: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<string>, Error> => {
  const failed = (problem: string, code: string) =>
    Effect.fail(Object.assign(new Error(`lookup of ${host}: ${problem}`), { code }))
  const other = found.find((address) => net().isIP(address) === 0)
  if (other !== undefined) return failed(`expected IP addresses, got "${other}"`, "ERR_INVALID_IP_ADDRESS")
  return found.length === 0 ? failed("expected IP addresses, got none", "ENOTFOUND") : Effect.succeed(found)
}

/** Alternates the address families, beginning with that of the first address (RFC 8305 §4). */
const interleaved = (addresses: ReadonlyArray<string>): ReadonlyArray<string> => {
  const family = net().isIP(addresses[0])
  const preferred = addresses.filter((address) => net().isIP(address) === family)
  const others = addresses.filter((address) => net().isIP(address) !== family)
  return [
    ...preferred.flatMap((address, i) => [address, ...others.slice(i, i + 1)]),
    ...others.slice(preferred.length)
  ]
}

/**
 * Connects to the first address; if that fails or takes longer than `delay`, to
 * the others as well (RFC 8305 §5). Returns the first socket that is connected.
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
  Object.assign(new AggregateError(errors, "all addresses failed"), { code: errors[0].code })

// -----------------------------------------------------------------------------
// Sockets
// -----------------------------------------------------------------------------

/** Starts TLS on a socket, and waits until the server's certificate is verified. */
export const secure = (
  attempt: Attempt,
  socket: Duplex,
  options: Tls.ConnectionOptions
): Effect.Effect<Tls.TLSSocket, Error> =>
  Effect.suspend(() => ready(attempt.own(tls().connect({ ...options, socket }))))

/** Waits until a socket is connected and its TLS handshake is complete. Any other stream is ready at once. */
export const ready = <S extends Duplex>(socket: S): Effect.Effect<S, NodeJS.ErrnoException> =>
  Effect.callback((resume) => {
    if (socket.destroyed) return resume(Effect.fail(closeError(socket)))
    const event = readyEvent(socket)
    if (event === undefined) return resume(Effect.succeed(socket))
    const settle = (effect: () => Effect.Effect<S, Error>) => () => {
      socket.off(event, onReady)
      socket.off("close", onClose)
      resume(effect())
    }
    const onReady = settle(() => Effect.succeed(socket))
    const onClose = settle(() => Effect.fail(closeError(socket)))
    socket.on(event, onReady)
    socket.on("close", onClose)
  })

/** The event that a socket emits when it is ready; undefined if it is ready. */
export const readyEvent = (socket: Duplex): "connect" | "secureConnect" | undefined => {
  if ("secureConnecting" in socket && socket.secureConnecting === true) return "secureConnect"
  return "connecting" in socket && socket.connecting === true ? "connect" : undefined
}

/** Why a stream was destroyed. */
export const closeError = (socket: Duplex): NodeJS.ErrnoException =>
  socket.errored ??
    Object.assign(new Error("connection lost before the handshake was complete"), { code: "ECONNRESET" })
