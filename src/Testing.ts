/**
 * What tests of WebSocket programs need: a server and its clients without a
 * network, a network that fails when it is told to, and a peer that says what it
 * is told to, be it wrong. Nothing here waits for real time: under `TestClock`
 * latencies, keepalives and deadlines pass when the test says so.
 *
 * It is not part of `effect-ws` itself: import it from `effect-ws/Testing`.
 *
 * **Example** (A handler and a client's program, without a network)
 *
 * ```ts
 * import { Effect, Layer, Stream } from "effect"
 * import { Connection, WebSocketClient, WebSocketServer } from "effect-ws"
 * import * as Testing from "effect-ws/Testing"
 *
 * const Echo = WebSocketServer.serve(Effect.gen(function*() {
 *   const connection = yield* Connection.Connection
 *   yield* Stream.runForEach(connection.messages, connection.send)
 * }))
 *
 * const test = Effect.gen(function*() {
 *   const connection = yield* WebSocketClient.connect("ws://anywhere/chat")
 *   yield* connection.send("hello")
 *   return yield* connection.receive
 * }).pipe(Effect.scoped, Effect.provide(Echo.pipe(Layer.provideMerge(Testing.layer()))))
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { Buffer } from "node:buffer"
import { Duplex } from "node:stream"
import * as Connection from "./Connection.ts"
import { TransportError } from "./ConnectionError.ts"
import * as Frame from "./Frame.ts"
import { checkFaults } from "./internal/options.ts"
import { makeServer } from "./internal/node/listen.ts"
import { assertValid } from "./internal/runtime/optionChecks.ts"
import { Timers } from "./internal/runtime/timers.ts"
import { nextTurn } from "./internal/runtime/turns.ts"
import * as Transport from "./Transport.ts"
import * as WebSocketClient from "./WebSocketClient.ts"
import * as WebSocketServer from "./WebSocketServer.ts"

// -----------------------------------------------------------------------------
// Turns
// -----------------------------------------------------------------------------

/**
 * Lets everything happen that can happen without time passing: what was written
 * is delivered, and whoever it wakes has run. For assertions that something did
 * not happen; where something is to happen, wait for that.
 *
 * @category time
 * @since 0.1.0
 */
export const settle: Effect.Effect<void> = Effect.replicateEffect(
  Effect.promise(() => new Promise<void>(nextTurn)),
  5,
  { discard: true }
)

// -----------------------------------------------------------------------------
// Links
// -----------------------------------------------------------------------------

/**
 * What a network does to the bytes that go one way.
 *
 * @category options
 * @since 0.1.0
 */
export interface Faults {
  /** How long they take. Default none. 0 or more, or Infinity. */
  readonly latency?: Duration.Input | undefined
  /**
   * The most bytes that arrive at a time, so that what was written at once is read in pieces. Default: as it was written.
   * 1 or more, or Infinity.
   */
  readonly chunkSize?: number | undefined
  /**
   * The network breaks after so many bytes, in the middle of a frame if that is
   * where it is: whoever receives them reads them, and then the end; whoever
   * sends them is reset. Default: never. 0 or more, or Infinity.
   */
  readonly breakAfter?: number | undefined
}

/**
 * Options of a link.
 *
 * @category options
 * @since 0.1.0
 */
export interface LinkOptions extends Transport.PairOptions {
  /** What happens to what the client sends. Default nothing. */
  readonly toServer?: Faults | undefined
  /** What happens to what the server sends. Default nothing. */
  readonly toClient?: Faults | undefined
}

/**
 * A TCP connection of a network that does what it is told to.
 *
 * @category models
 * @since 0.1.0
 */
export interface Link {
  /** The client's end, and the server's. */
  readonly client: Transport.Transport
  readonly server: Transport.Transport
  /** Breaks it: both ends are reset at once. */
  readonly cut: Effect.Effect<void>
  /**
   * From now on all bytes vanish, and neither end is told of what the other one
   * does: somebody has pulled the plug, or a router forgot about the connection.
   * When the Scope of the connections over it closes, it is cut.
   */
  readonly silence: Effect.Effect<void>
}

/**
 * A link, by itself.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeLink = (options?: LinkOptions): Effect.Effect<Link> =>
  Effect.map(openLink(options), ({ link }) => link)

/** A link, and what is to be done before its ends are closed. */
const openLink = (
  options: LinkOptions = {}
): Effect.Effect<{ readonly link: Link; readonly release: Effect.Effect<void> }> =>
  Effect.gen(function*() {
    const [client, nearClient] = yield* Transport.makePair(options)
    const [server, nearServer] = yield* Transport.makePair(options)
    const timers = Timers.of(yield* Effect.context<never>())
    const clientEnd = new LinkEnd(client, () => toClient.drained())
    const serverEnd = new LinkEnd(server, () => toServer.drained())
    const toServer = new Direction(timers, nearServer, options.toServer, () => clientEnd.reset())
    const toClient = new Direction(timers, nearClient, options.toClient, () => serverEnd.reset())
    nearClient.start(toServer.receiver(toClient, nearClient))
    nearServer.start(toClient.receiver(toServer, nearServer))
    let silent = false
    const silence = () => {
      silent = true
      toServer.broken = true
      toClient.broken = true
    }
    const cut = () => {
      silence()
      clientEnd.reset()
      serverEnd.reset()
    }
    return {
      link: {
        client: clientEnd.transport,
        server: serverEnd.transport,
        cut: Effect.sync(cut),
        silence: Effect.sync(silence)
      },
      // A closing handshake over a silent link would wait for time that nobody lets pass any more.
      release: Effect.sync(() => {
        if (silent) cut()
      })
    }
  })

/** An end of a link: that of an in-memory pair, which can be reset. */
class LinkEnd {
  private readonly inner: Transport.Transport
  private error: TransportError | undefined
  readonly transport: Transport.Transport

  /** What was not read when it is destroyed does not hold up what comes behind it. */
  constructor(inner: Transport.Transport, onDestroy: () => void) {
    this.inner = inner
    this.transport = {
      ...inner,
      destroy: () => {
        inner.destroy()
        onDestroy()
      },
      start: (receiver) => {
        inner.start({
          onData: (chunk) => receiver.onData(chunk),
          onDrain: () => receiver.onDrain(),
          onEnd: () => receiver.onEnd(),
          onClose: (error) => receiver.onClose(this.error ?? error)
        })
      }
    }
  }

  reset(): void {
    this.error ??= new TransportError({ code: "ECONNRESET", cause: new Error("read ECONNRESET") })
    this.inner.destroy()
  }
}

/** One way of a link. */
class Direction {
  private readonly timers: Timers
  private readonly to: Transport.Transport
  private readonly latency: number
  private readonly chunkSize: number
  private left: number
  private readonly reset: () => void
  /** Nothing gets through any more. */
  broken = false
  /** Whether the next hop has no room. */
  full = false
  /** What is under way, the first first. */
  private readonly underWay: Array<{ readonly at: number; readonly arrive: () => void }> = []

  constructor(timers: Timers, to: Transport.Transport, faults: Faults = {}, reset: () => void) {
    assertValid(checkFaults(faults))
    this.timers = timers
    this.to = to
    this.latency = Duration.toMillis(faults.latency ?? 0)
    this.chunkSize = faults.chunkSize ?? Number.POSITIVE_INFINITY
    this.left = faults.breakAfter ?? Number.POSITIVE_INFINITY
    this.reset = reset
  }

  /** Takes what comes from `from`. Its drain is that of the way back. */
  receiver(back: Direction, from: Transport.Transport): Transport.Receiver {
    this.from = from
    return {
      onData: (chunk) => {
        const copy = Uint8Array.from(chunk)
        this.travel(() => this.forward(copy))
      },
      onDrain: () => back.drained(),
      onEnd: () => this.travel(() => this.to.end()),
      onClose: () => this.travel(() => this.to.destroy())
    }
  }

  private from: Transport.Transport | undefined

  drained(): void {
    this.full = false
    this.from!.resume()
  }

  private travel(arrive: () => void): void {
    if (this.latency === 0) return this.arrive(arrive)
    this.underWay.push({ at: this.timers.now() + this.latency, arrive })
    if (this.underWay.length === 1) this.wait()
  }

  private wait(): void {
    this.timers.schedule(this.underWay[0].at - this.timers.now(), () => {
      this.arrive(this.underWay.shift()!.arrive)
      if (this.underWay.length > 0) this.wait()
    })
  }

  private arrive(arrive: () => void): void {
    if (!this.broken) arrive()
  }

  private forward(chunk: Uint8Array): void {
    const bytes = chunk.subarray(0, this.left)
    this.left -= bytes.length
    for (let at = 0; at < bytes.length; at += this.chunkSize) {
      this.full = !this.to.write([bytes.subarray(at, at + this.chunkSize)])
    }
    if (this.left === 0) {
      this.broken = true
      this.to.end()
      this.reset()
    } else if (this.full) this.from!.pause()
  }
}

// -----------------------------------------------------------------------------
// Connections
// -----------------------------------------------------------------------------

/**
 * A client and a server that are connected to each other, without a handshake.
 *
 * **Example** (What a plug that is pulled comes to)
 *
 * ```ts
 * import { Effect } from "effect"
 * import * as Testing from "effect-ws/Testing"
 * import { TestClock } from "effect/testing"
 *
 * const test = Effect.gen(function*() {
 *   const { link, server } = yield* Testing.makePair()
 *   yield* link.silence
 *   yield* TestClock.adjust("1 minute")
 *   return (yield* server.closed).cause // KeepaliveTimeout
 * }).pipe(Effect.scoped)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const makePair = (options: {
  readonly client?: Connection.Options | undefined
  readonly server?: Connection.Options | undefined
  readonly link?: LinkOptions | undefined
} = {}): Effect.Effect<
  {
    readonly client: Connection.Connection
    readonly server: Connection.Connection
    readonly link: Link
  },
  never,
  Scope.Scope
> =>
  Effect.gen(function*() {
    const { link, release } = yield* openLink(options.link)
    const client = yield* Connection.make(link.client, { ...options.client, role: "client" })
    const server = yield* Connection.make(link.server, { ...options.server, role: "server" })
    yield* Effect.addFinalizer(() => release)
    return { client, server, link }
  })

// -----------------------------------------------------------------------------
// Peers
// -----------------------------------------------------------------------------

/**
 * The other end of a connection, as bytes and frames. It does what it is told
 * to and nothing else: it answers no ping and no close frame, and checks nothing.
 *
 * @category models
 * @since 0.1.0
 */
export interface Peer {
  /** Writes frames as the peer's role demands: masked where it is a client. */
  readonly send: (...frames: ReadonlyArray<Frame.Frame>) => Effect.Effect<void>
  /** Writes bytes, be they frames or not. */
  readonly sendBytes: (bytes: Uint8Array) => Effect.Effect<void>
  /** Waits for the next frame that has not been taken yet. When the connection is gone, waits forever. */
  readonly receive: Effect.Effect<Frame.Frame>
  /** All frames that have come. */
  readonly received: Effect.Effect<ReadonlyArray<Frame.Frame>>
  /** All that has come, as it came: each read as its bytes. */
  readonly reads: Effect.Effect<ReadonlyArray<Uint8Array>>
  /** Reads no more, so that what the connection sends piles up. */
  readonly pause: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
  /** Ends this side, and goes on reading: the connection is half open. */
  readonly end: Effect.Effect<void>
  /** Cuts the transport, without a word. */
  readonly cut: Effect.Effect<void>
  /** Whether the connection has ended its side. */
  readonly sawEnd: Effect.Effect<boolean>
  /** Waits until the transport is gone. */
  readonly gone: Effect.Effect<void>
}

/**
 * A peer at an end of a link, or of any other transport. The `role` is its own.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makePeer = (transport: Transport.Transport, role: Frame.Role): Effect.Effect<Peer> =>
  Effect.sync(() => {
    const decoder = Frame.makeDecoder({ role, maxFrameSize: Number.MAX_SAFE_INTEGER, reservedBits: 7 })
    const received: Array<Frame.Frame> = []
    const reads: Array<Uint8Array> = []
    const waiting: Array<() => void> = []
    const gone = Deferred.makeUnsafe<void>()
    let taken = 0
    let ended = false
    transport.start({
      onData: (chunk) => {
        reads.push(Uint8Array.from(chunk))
        received.push(...decoder.decode(chunk).frames)
        for (const wake of waiting.splice(0)) wake()
      },
      onDrain: constVoid,
      onEnd: () => {
        ended = true
      },
      onClose: () => Deferred.doneUnsafe(gone, Effect.void)
    })
    const receive: Effect.Effect<Frame.Frame> = Effect.suspend(() =>
      taken < received.length ? Effect.sync(() => received[taken++]) : Effect.andThen(more, receive)
    )
    const more = Effect.callback<void>((resume) => {
      const wake = () => resume(Effect.void)
      waiting.push(wake)
      return Effect.sync(() => {
        const index = waiting.indexOf(wake)
        if (index >= 0) waiting.splice(index, 1)
      })
    })
    const write = (bytes: Uint8Array) => {
      transport.write([bytes])
    }
    return {
      send: (...frames) =>
        Effect.sync(() =>
          write(Buffer.concat(frames.map((frame) => Frame.encode(frame, role === "client" ? maskKey : undefined))))
        ),
      sendBytes: (bytes) => Effect.sync(() => write(bytes)),
      receive,
      received: Effect.sync(() => [...received]),
      reads: Effect.sync(() => [...reads]),
      pause: Effect.sync(() => transport.pause()),
      resume: Effect.sync(() => transport.resume()),
      end: Effect.sync(() => transport.end()),
      cut: Effect.sync(() => transport.destroy()),
      sawEnd: Effect.sync(() => ended),
      gone: Deferred.await(gone)
    }
  })

const maskKey = 0x3d21fa37

/**
 * A connection, and a peer at its other end. The peer is cut off with the
 * Scope, before the connection would wait for its close frame.
 *
 * **Example** (A text that is not UTF-8)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Frame } from "effect-ws"
 * import * as Testing from "effect-ws/Testing"
 *
 * const test = Effect.gen(function*() {
 *   const { connection, peer } = yield* Testing.makeConnection({ role: "server" })
 *   yield* peer.send(new Frame.Frame(Frame.Opcode.Text, Uint8Array.of(0xff)))
 *   return (yield* connection.closed).cause // InvalidUtf8
 * }).pipe(Effect.scoped)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeConnection = (
  options: Connection.MakeOptions & { readonly link?: LinkOptions | undefined }
): Effect.Effect<
  { readonly connection: Connection.Connection; readonly peer: Peer; readonly link: Link },
  never,
  Scope.Scope
> =>
  Effect.gen(function*() {
    const link = yield* makeLink(options.link)
    const isServer = options.role === "server"
    const peer = yield* makePeer(isServer ? link.client : link.server, isServer ? "client" : "server")
    const connection = yield* Connection.make(isServer ? link.server : link.client, options)
    yield* Effect.addFinalizer(() => peer.cut)
    return { connection, peer, link }
  })

// -----------------------------------------------------------------------------
// Servers and clients
// -----------------------------------------------------------------------------

/**
 * The network between a server and its clients.
 *
 * @category services
 * @since 0.1.0
 */
export interface Network {
  /** The links of all connections so far, in the order in which clients began them. */
  readonly links: Effect.Effect<ReadonlyArray<Link>>
}

/**
 * Service tag of `Network`.
 *
 * @category services
 * @since 0.1.0
 */
export const Network: Context.Service<Network, Network> = Context.Service<Network>("effect-ws/Testing/Network")

/**
 * Options of `layer`.
 *
 * @category options
 * @since 0.1.0
 */
export interface LayerOptions
  extends Pick<WebSocketServer.MakeOptions, "path" | "handshakeTimeout" | "maxHeaderSize" | "onRequest">
{
  /** What the network does to each connection. */
  readonly link?: LinkOptions | undefined
}

/**
 * A server and a client that need no network: what `WebSocketClient.connect`
 * connects to, whatever the URL, is this server. Handshakes are done as always,
 * so that paths, origins, subprotocols, extensions and decisions are tested too.
 * For a wss URL, both ends are told that there is TLS, and there is none.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: LayerOptions = {}): Layer.Layer<WebSocketServer.WebSocketServer | Network> =>
  Layer.effectContext(Effect.gen(function*() {
    const server = yield* Effect.orDie(makeServer(
      options,
      // An address that is nobody's (RFC 5737), for those who want one: `Socket.layerServer` does.
      () => Effect.succeed<WebSocketServer.Address>({ _tag: "Tcp", host: "192.0.2.1", port: 80 })
    ))
    const links: Array<Link> = []
    const overNode = WebSocketClient.WebSocketClient.defaultValue()
    return Context.make(WebSocketServer.WebSocketServer, server).pipe(
      Context.add(Network, { links: Effect.sync(() => [...links]) }),
      Context.add(WebSocketClient.WebSocketClient, {
        connect: (url, connectOptions) =>
          Effect.suspend(() => {
            let release: Effect.Effect<void> = Effect.void
            // Each request has a link of its own: there may be redirects.
            const duplex = ({ protocol }: URL) =>
              Effect.flatMap(openLink(options.link), (opened) => {
                const { client, server: there } = opened.link
                links.push(opened.link)
                release = opened.release
                // For wss, both ends take it for a socket with TLS.
                const tls = protocol === "wss:" ? { encrypted: true } : {}
                return Effect.as(
                  server.accept(Object.assign(toDuplex(there), tls)),
                  Object.assign(toDuplex(client), tls)
                )
              })
            return Effect.tap(
              overNode.connect(url, {
                ...connectOptions,
                agent: undefined,
                proxy: undefined,
                socketPath: undefined,
                duplex
              }),
              () => Effect.addFinalizer(() => release)
            )
          })
      })
    )
  }))

/**
 * A client whose servers are peers: each connection has one at its other end,
 * which does what the script says. There is no handshake.
 *
 * **Example** (A server that says hello and dies)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Frame, WebSocketClient } from "effect-ws"
 * import * as Testing from "effect-ws/Testing"
 *
 * const test = Effect.gen(function*() {
 *   const connection = yield* WebSocketClient.connect("ws://anywhere/")
 *   yield* connection.receive
 *   return yield* connection.closed
 * }).pipe(
 *   Effect.scoped,
 *   Effect.provide(Testing.layerPeer((peer) => Effect.andThen(peer.send(Frame.text("hello")), peer.cut)))
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerPeer = (
  script: (peer: Peer, url: string, link: Link) => Effect.Effect<void>,
  options?: LinkOptions
): Layer.Layer<never> =>
  Layer.succeed(WebSocketClient.WebSocketClient, {
    connect: (url, connectOptions) =>
      Effect.gen(function*() {
        const made = yield* makeConnection({ ...connectOptions, role: "client", link: options })
        yield* Effect.forkScoped(script(made.peer, String(url), made.link))
        return made.connection
      })
  })

/** A transport as a Node stream, for HTTP to be spoken over. */
const toDuplex = (transport: Transport.Transport): Duplex => {
  let drained: () => void = constVoid
  const duplex = new Duplex({
    read: () => transport.resume(),
    write: (chunk: Uint8Array, _encoding, callback) => {
      if (transport.write([chunk])) callback()
      else drained = callback
    },
    final: (callback) => {
      transport.end()
      callback()
    },
    destroy: (error, callback) => {
      transport.destroy()
      callback(error)
    }
  })
  transport.start({
    onData: (chunk) => {
      if (!duplex.push(Uint8Array.from(chunk))) transport.pause()
    },
    onDrain: () => drained(),
    onEnd: () => duplex.push(null),
    onClose: (error) => {
      if (error === undefined) duplex.destroy()
      else duplex.destroy(Object.assign(new Error(error.cause.message), { code: error.code }))
    }
  })
  return duplex
}
