/**
 * Tools for tests of WebSocket programs: a server and its clients without a
 * network, a network with faults, and a peer that sends what it is told to, valid
 * or not. Nothing here waits for real time: under `TestClock`, latencies,
 * keepalives and deadlines pass when the test adjusts the clock.
 *
 * This module is not part of the index: import it from `effect-ws/Testing`.
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
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import type * as Http from "node:http"
import type { Duplex } from "node:stream"
import * as Connection from "./Connection.ts"
import type * as Frame from "./Frame.ts"
import type { InvalidOption } from "./HandshakeError.ts"
import { MemoryLink } from "./internal/memory/link.ts"
import { passTimeDuring, settle as internalSettle } from "./internal/memory/passTime.ts"
import { MemoryPeer } from "./internal/memory/peer.ts"
import { makeServer } from "./internal/node/listen.ts"
import { layerMemoryHttpClient } from "./internal/node/memoryFetch.ts"
import { memoryAddress, MemoryServer } from "./internal/node/memoryServer.ts"
import { transportDuplex } from "./internal/node/transportDuplex.ts"
import { Timers } from "./internal/runtime/timers.ts"
import type * as Transport from "./Transport.ts"
import * as WebSocketClient from "./WebSocketClient.ts"
import * as WebSocketServer from "./WebSocketServer.ts"

// -----------------------------------------------------------------------------
// Turns
// -----------------------------------------------------------------------------

/**
 * Suspends until everything has happened that can happen without time passing:
 * bytes are delivered, and the fibers that they wake have run. Use it before an
 * assertion that something did not happen. If something is expected to happen,
 * wait for that instead.
 *
 * @stability unstable
 * @category time
 * @since 0.1.0
 */
export const settle: Effect.Effect<void> = internalSettle

// -----------------------------------------------------------------------------
// Links
// -----------------------------------------------------------------------------

/**
 * The conditions of a network, in one direction.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface Conditions {
  /**
   * The time that bytes take. Default 0. 0 or more, or Infinity. When the Scope of a
   * connection closes, bytes arrive at once, because a test cannot adjust the clock then.
   */
  readonly latency?: Duration.Input | undefined
  /**
   * The largest chunk that arrives at a time, in bytes, so that one write is read
   * in pieces. Default Infinity. 1 or more, or Infinity.
   */
  readonly chunkSize?: number | undefined
  /**
   * Breaks the network after this number of bytes, also in the middle of a frame:
   * the receiver reads them and then the end, and the sender is reset. Default
   * Infinity. 0 or more, or Infinity.
   */
  readonly resetAfterBytes?: number | undefined
}

/**
 * Options of a link.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface LinkOptions extends Transport.PairOptions {
  /** The conditions for the bytes that the client sends. */
  readonly toServer?: Conditions | undefined
  /** The conditions for the bytes that the server sends. */
  readonly toClient?: Conditions | undefined
}

/**
 * A TCP connection over a network with conditions that the test controls.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Link {
  /** The end of the client. */
  readonly client: Transport.Transport
  /** The end of the server. */
  readonly server: Transport.Transport
  /** Resets both ends at once. */
  readonly reset: Effect.Effect<void>
  /**
   * Drops all bytes from now on, without a notice to either end, as after a lost
   * power supply or a router that forgot the connection. When the Scope of the
   * connections closes, the link is reset.
   */
  readonly blackhole: Effect.Effect<void>
}

/**
 * Makes a link without connections.
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const makeLink = (options?: LinkOptions): Effect.Effect<Link> => Effect.map(openLink(options), linkOf)

const openLink = (options: LinkOptions = {}): Effect.Effect<MemoryLink> =>
  Effect.map(Effect.context<never>(), (context) => new MemoryLink(Timers.of(context), options))

const linkOf = (link: MemoryLink): Link => ({
  client: link.client,
  server: link.server,
  reset: Effect.sync(() => link.reset()),
  blackhole: Effect.sync(() => link.blackhole())
})

/** Lets a connection end without delay when its Scope closes. */
const releaseLink = (link: MemoryLink): Effect.Effect<void, never, Scope.Scope> =>
  Effect.addFinalizer(() => Effect.sync(() => link.release()))

// -----------------------------------------------------------------------------
// Connections
// -----------------------------------------------------------------------------

/**
 * Makes a client and a server that are connected to each other, without a
 * handshake. Their Scope closes them.
 *
 * **Example** (A network that drops everything)
 *
 * ```ts
 * import { Effect } from "effect"
 * import * as Testing from "effect-ws/Testing"
 * import { TestClock } from "effect/testing"
 *
 * const test = Effect.gen(function*() {
 *   const { link, server } = yield* Testing.makePair()
 *   yield* link.blackhole
 *   yield* TestClock.adjust("1 minute")
 *   return (yield* server.closed).cause // KeepaliveTimeout
 * }).pipe(Effect.scoped)
 * ```
 *
 * @stability unstable
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
  InvalidOption,
  Scope.Scope
> =>
  Effect.gen(function*() {
    const link = yield* openLink(options.link)
    const client = yield* Connection.make(link.client, { ...options.client, role: "client" })
    const server = yield* Connection.make(link.server, { ...options.server, role: "server" })
    yield* releaseLink(link)
    return { client, server, link: linkOf(link) }
  })

// -----------------------------------------------------------------------------
// Peers
// -----------------------------------------------------------------------------

/**
 * The other end of a connection, as frames and bytes. It sends what it is told to
 * send, answers no ping and no close frame, and checks nothing.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Peer {
  /** Sends frames as the role of the peer requires: those of a client are masked. */
  readonly send: (...frames: ReadonlyArray<Frame.Frame>) => Effect.Effect<void>
  /** Sends bytes, whether they are frames or not. */
  readonly sendBytes: (bytes: Uint8Array) => Effect.Effect<void>
  /** Returns the next frame. Suspends until there is one, also after the end of the connection. */
  readonly receive: Effect.Effect<Frame.Frame>
  /** Returns all frames that were received. */
  readonly received: Effect.Effect<ReadonlyArray<Frame.Frame>>
  /** Returns the bytes of each read. */
  readonly reads: Effect.Effect<ReadonlyArray<Uint8Array>>
  /** Stops reading, so that backpressure reaches the connection. */
  readonly pause: Effect.Effect<void>
  /** Resumes reading. */
  readonly resume: Effect.Effect<void>
  /** Ends this side and continues to read: the TCP connection is half open. */
  readonly end: Effect.Effect<void>
  /** Destroys the transport, without a close frame. */
  readonly destroy: Effect.Effect<void>
  /** Returns whether the connection has ended its side. */
  readonly receivedEof: Effect.Effect<boolean>
  /** Waits until the transport is closed. */
  readonly closed: Effect.Effect<void>
}

/**
 * Makes a peer at an end of a link, or at any other transport. `role` is the role
 * of the peer.
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const makePeer = (transport: Transport.Transport, role: Frame.Role): Effect.Effect<Peer> =>
  Effect.sync(() => {
    const peer = new MemoryPeer(transport, role)
    return {
      send: (...frames) => Effect.sync(() => peer.send(...frames)),
      sendBytes: (bytes) => Effect.sync(() => peer.sendBytes(bytes)),
      receive: peer.receive,
      received: Effect.sync(() => [...peer.received]),
      reads: Effect.sync(() => [...peer.reads]),
      pause: Effect.sync(() => transport.pause()),
      resume: Effect.sync(() => transport.resume()),
      end: Effect.sync(() => transport.end()),
      destroy: Effect.sync(() => transport.destroy()),
      receivedEof: Effect.sync(() => peer.receivedEof),
      closed: peer.closed
    }
  })

/**
 * Makes a connection with a peer at its other end. When the Scope closes, the peer
 * destroys its transport, so that the connection does not wait for a close frame.
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
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const makeConnection = (
  options: Connection.MakeOptions & { readonly link?: LinkOptions | undefined }
): Effect.Effect<
  { readonly connection: Connection.Connection; readonly peer: Peer; readonly link: Link },
  InvalidOption,
  Scope.Scope
> =>
  Effect.gen(function*() {
    const link = yield* openLink(options.link)
    const isServer = options.role === "server"
    const peer = yield* makePeer(isServer ? link.client : link.server, isServer ? "client" : "server")
    const connection = yield* Connection.make(isServer ? link.server : link.client, options)
    yield* releaseLink(link)
    yield* Effect.addFinalizer(() => peer.destroy)
    return { connection, peer, link: linkOf(link) }
  })

// -----------------------------------------------------------------------------
// Servers and clients
// -----------------------------------------------------------------------------

/**
 * The network between the server of `layer` or `layerHttpServer` and its clients.
 *
 * @stability unstable
 * @category services
 * @since 0.1.0
 */
export interface Network {
  /** Returns the links of all connections so far, in the order in which clients opened them. */
  readonly links: Effect.Effect<ReadonlyArray<Link>>
  /** Returns the link that a client opened last. Dies if no client has opened one. */
  readonly lastLink: Effect.Effect<Link>
}

/**
 * Service tag of `Network`.
 *
 * @stability unstable
 * @category services
 * @since 0.1.0
 */
export const Network: Context.Service<Network, Network> = Context.Service<Network>("effect-ws/Testing/Network")

/**
 * Options of `layer`.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface LayerOptions
  extends Pick<WebSocketServer.MakeOptions, "path" | "handshakeTimeout" | "maxHeaderSize" | "onRequest">
{
  /** The options of the link of each connection. */
  readonly link?: LinkOptions | undefined
}

/**
 * Provides a server, and a client that connects to it without a network, whatever
 * the URL. Handshakes are done in full, so that paths, origins, subprotocols,
 * extensions and decisions are tested as well. For a wss URL, both ends take the
 * stream for an encrypted one, without TLS. Fails with `InvalidOption` if an option is
 * invalid.
 *
 * When the layer closes, it waits for handlers. If they wait for a `TestClock` that
 * nothing adjusts, time passes by itself after a second.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: LayerOptions = {}
): Layer.Layer<WebSocketServer.WebSocketServer | Network, InvalidOption> =>
  Layer.effectContext(Effect.gen(function*() {
    // `SocketServer.layer` needs an address.
    const address: WebSocketServer.Address = { _tag: "Tcp", ...memoryAddress }
    const server = yield* makeServer(options, () => Effect.succeed(address))
    const network = makeNetwork(options.link, server.accept)
    const serve: typeof server.serve = (handler, serveOptions) => {
      const serving = server.serve(handler, serveOptions)
      return Effect.flatMap(
        Effect.acquireRelease(Scope.make(), (scope, exit) => passTimeDuring(Scope.close(scope, exit))),
        (scope) => Scope.provide(serving, scope) as typeof serving
      )
    }
    return Context.merge(clientContext(network), Context.make(WebSocketServer.WebSocketServer, { ...server, serve }))
  }))

/**
 * Provides the HTTP server of an `effect/http` application without a network, and
 * clients that reach it whatever the URL: the `WebSocketClient`, and an `HttpClient`
 * for requests to other routes, which does not follow redirects.
 *
 * `nodeHttpServer` makes the application's HTTP server of a Node server, as
 * `NodeHttpServer.layer` of `@effect/platform-node` does. The Node server is prepared
 * as by `WebSocketServer.prepareServer`, and binds no port.
 *
 * When the layer closes, the application's shutdown closes connections and waits for
 * handlers. A client that connects later fails with `ConnectFailed` and ECONNREFUSED.
 * If the shutdown waits for a `TestClock` that nothing adjusts, time passes by itself
 * after a second.
 *
 * **Example** (A route and a request beside it)
 *
 * ```ts
 * import { NodeHttpServer } from "@effect/platform-node"
 * import { Effect, Layer } from "effect"
 * import { HttpClient, HttpRouter, HttpServerResponse } from "effect/http"
 * import { Connection, WebSocketClient, WebSocketServer } from "effect-ws"
 * import * as Testing from "effect-ws/Testing"
 *
 * const Application = HttpRouter.serve(Layer.mergeAll(
 *   HttpRouter.add("GET", "/health", HttpServerResponse.text("well")),
 *   HttpRouter.add("GET", "/rooms/:room", WebSocketServer.upgrade(Effect.gen(function*() {
 *     const { room } = yield* HttpRouter.params
 *     yield* (yield* Connection.Connection).send(`welcome to ${room}`)
 *   })))
 * ))
 *
 * const test = Effect.gen(function*() {
 *   const connection = yield* WebSocketClient.connect("ws://anywhere/rooms/blue")
 *   const welcome = yield* connection.receive
 *   const health = yield* HttpClient.get("http://anywhere/health")
 *   return [welcome, health.status]
 * }).pipe(
 *   Effect.scoped,
 *   Effect.provide(Application.pipe(Layer.provideMerge(Testing.layerHttpServer(NodeHttpServer.layer))))
 * )
 * ```
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerHttpServer = <A, E>(
  nodeHttpServer: (makeServer: () => Http.Server, options: { readonly port: number }) => Layer.Layer<A, E>,
  options: { readonly link?: LinkOptions | undefined } = {}
): Layer.Layer<A | HttpClient.HttpClient | Network, E> =>
  Layer.unwrap(Effect.map(makeMemoryServer, (server) => {
    const accept = (duplex: Duplex) =>
      Effect.suspend(() => server.accept(duplex) ? Effect.void : Effect.fail(connectionRefused()))
    const network = makeNetwork(options.link, accept)
    const nodeServer = () => server
    return Layer.mergeAll(
      nodeHttpServer(nodeServer, { port: memoryAddress.port }),
      layerMemoryHttpClient((url) => Effect.tap(network.open(url), releaseOnClose)),
      Layer.succeedContext(clientContext(network))
    )
  }))

const makeMemoryServer: Effect.Effect<MemoryServer> = Effect.map(Effect.context<never>(), (context) => {
  const server = WebSocketServer.prepareServer(new MemoryServer())
  const close = server.close.bind(server)
  server.close = (callback) => {
    const closed = new Promise<Error | undefined>((resolve) => close(resolve))
    Effect.runForkWith(context)(passTimeDuring(Effect.promise(() => closed)))
    if (callback !== undefined) void closed.then(callback)
    return server
  }
  return server
})

const connectionRefused = (): Error =>
  Object.assign(new Error(`connect ECONNREFUSED ${memoryAddress.host}:${memoryAddress.port}`), { code: "ECONNREFUSED" })

/** The client's end of a link. */
type LinkDuplex = Duplex & { readonly link: MemoryLink }

const releaseOnClose = (duplex: LinkDuplex): Effect.Effect<void> =>
  Effect.sync(() => void duplex.once("close", () => duplex.link.release()))

/** Opens links to one server, and remembers them. */
interface MemoryNetwork extends Network {
  /** Opens a link for a request to a URL, and hands its other end to the server. */
  readonly open: (url: URL) => Effect.Effect<LinkDuplex, Error>
}

const makeNetwork = (
  options: LinkOptions | undefined,
  accept: (duplex: Duplex) => Effect.Effect<void, Error>
): MemoryNetwork => {
  const links: Array<Link> = []
  return {
    links: Effect.sync(() => [...links]),
    lastLink: Effect.suspend(() => {
      const last = links.at(-1)
      return last === undefined
        ? Effect.die(new Error("lastLink: expected a link, but no client has connected"))
        : Effect.succeed(last)
    }),
    open: ({ protocol }) =>
      Effect.flatMap(openLink(options), (link) => {
        links.push(linkOf(link))
        // With this property, a stream counts as a TLS socket.
        const tls = protocol === "wss:" || protocol === "https:" ? { encrypted: true } : {}
        return Effect.as(
          accept(Object.assign(transportDuplex(link.server), tls)),
          Object.assign(transportDuplex(link.client), tls, { link })
        )
      })
  }
}

const clientContext = (network: MemoryNetwork): Context.Context<Network> =>
  Context.make(Network, network).pipe(Context.add(WebSocketClient.WebSocketClient, memoryClient(network.open)))

/** A client that connects to a server over links. */
const memoryClient = (open: MemoryNetwork["open"]): WebSocketClient.WebSocketClient => {
  const nodeClient = WebSocketClient.WebSocketClient.defaultValue()
  return {
    connect: (url, options) =>
      Effect.suspend(() => {
        const links: Array<MemoryLink> = []
        const release = Effect.sync(() => {
          for (const link of links) link.release()
        })
        // A redirect leads to a second request, which has a link of its own.
        const duplex = (target: URL) =>
          Effect.tap(Effect.andThen(release, open(target)), ({ link }) => Effect.sync(() => links.push(link)))
        return nodeClient.connect(url, {
          ...options,
          agent: undefined,
          proxy: undefined,
          socketPath: undefined,
          duplex
        }).pipe(
          Effect.tap(() => Effect.addFinalizer(() => release)),
          Effect.onError(() => release)
        )
      })
  }
}

/**
 * Provides a client that gives each of its connections a peer as the server, and
 * runs `script` with that peer. There is no handshake.
 *
 * **Example** (A server that sends hello and disappears)
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
 *   Effect.provide(Testing.layerPeer((peer) => Effect.andThen(peer.send(Frame.text("hello")), peer.destroy)))
 * )
 * ```
 *
 * @stability unstable
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
