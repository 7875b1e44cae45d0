/** Real sockets: servers to test against, and peers that write raw bytes. */
import { Deferred, Effect, Layer, Scope } from "effect"
import { Connection, Frame, Handshake, type HandshakeError, WebSocketServer } from "effect-ws"
import * as Net from "node:net"

/** Starts a server with a handler on a free port, for as long as the Scope lives. */
export const serve = <A, E, Services = never>(
  handler: Effect.Effect<A, E, Connection.Connection | Scope.Scope | Services>,
  options?: WebSocketServer.MakeOptions & {
    readonly serve?: WebSocketServer.ServeOptions<Services, Scope.Scope>
  }
): Effect.Effect<Server, WebSocketServer.ListenFailed | HandshakeError.InvalidOption, Scope.Scope> =>
  Effect.gen(function*() {
    const server = yield* WebSocketServer.make({ host: "127.0.0.1", ...options })
    yield* server.serve(handler, options?.serve)
    return { ...server, port: server.address._tag === "Tcp" ? server.address.port : 0 }
  })

/** A handler that gives its connection to the test, and stays until it has ended. */
export const handingOut = Effect.map(Deferred.make<Connection.Connection>(), (held) => ({
  connection: Deferred.await(held),
  handler: Effect.flatMap(
    Connection.Connection,
    (connection) => Effect.andThen(Deferred.succeed(held, connection), connection.closed)
  )
}))

export type Server = WebSocketServer.WebSocketServer & { readonly port: number }

/** A TCP connection that says what it is told to, and keeps what it hears. */
export interface RawSocket {
  readonly socket: Net.Socket
  readonly write: (data: string | Uint8Array) => void
  /** All that has come. */
  readonly received: () => Buffer
  /** Waits until what has come satisfies the condition. */
  readonly until: (condition: (received: Buffer) => boolean) => Effect.Effect<Buffer>
  /** Waits until the other side has ended or cut the connection. */
  readonly ended: Effect.Effect<Buffer>
}

/** The two ends of a TCP connection, both of which may end first. */
export const socketPair: Effect.Effect<readonly [Net.Socket, Net.Socket], never, Scope.Scope> = Effect.acquireRelease(
  Effect.callback<readonly [Net.Socket, Net.Socket]>((resume) => {
    const server = Net.createServer({ allowHalfOpen: true }, (accepted) => {
      server.close()
      resume(Effect.succeed([connected, accepted]))
    })
    let connected: Net.Socket
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as Net.AddressInfo
      connected = Net.connect({ port, host: "127.0.0.1", allowHalfOpen: true })
    })
  }),
  (both) => Effect.sync(() => both.forEach((socket) => socket.destroy()))
)

/** Bytes that only grow at their end, so that views of them stay valid. */
class GrowingBuffer {
  private block = Buffer.alloc(0)
  private size = 0

  append(chunk: Uint8Array): void {
    const size = this.size + chunk.length
    if (size > this.block.length) {
      const grown = Buffer.alloc(2 * size)
      grown.set(this.contents)
      this.block = grown
    }
    this.block.set(chunk, this.size)
    this.size = size
  }

  get contents(): Buffer {
    return this.block.subarray(0, this.size)
  }
}

export const rawSocket = (socket: Net.Socket): RawSocket => {
  const received = new GrowingBuffer()
  let over = false
  const watchers = new Set<() => void>()
  const changed = () => watchers.forEach((watch) => watch())
  const finish = () => {
    over = true
    changed()
  }
  socket.on("data", (chunk) => {
    received.append(chunk)
    changed()
  })
  socket.on("end", finish)
  socket.on("close", finish)
  socket.on("error", finish)
  const wait = (condition: () => boolean): Effect.Effect<Buffer> =>
    Effect.callback((resume) => {
      const watch = () => {
        if (!condition()) return
        watchers.delete(watch)
        resume(Effect.succeed(received.contents))
      }
      watchers.add(watch)
      watch()
      return Effect.sync(() => watchers.delete(watch))
    })
  return {
    socket,
    write: (data) => {
      socket.write(data)
    },
    received: () => received.contents,
    until: (condition) => wait(() => condition(received.contents)),
    ended: wait(() => over)
  }
}

/** Connects to a port of this machine. */
export const rawConnect = (port: number): Effect.Effect<RawSocket, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<Net.Socket>((resume) => {
        const socket = Net.connect(
          { port, host: "127.0.0.1", allowHalfOpen: true },
          () => resume(Effect.succeed(socket))
        )
        socket.setNoDelay(true)
      }),
      (socket) => Effect.sync(() => socket.destroy())
    ),
    rawSocket
  )

/** A TCP server that does with each connection what it is told to. Answers its port. */
export const rawServer = (
  onConnection: (peer: RawSocket) => void
): Effect.Effect<{ readonly port: number; readonly peers: Array<RawSocket> }, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<{ readonly server: Net.Server; readonly port: number; readonly peers: Array<RawSocket> }>(
      (resume) => {
        const peers: Array<RawSocket> = []
        const server = Net.createServer({ allowHalfOpen: true }, (socket) => {
          const peer = rawSocket(socket)
          peers.push(peer)
          onConnection(peer)
        })
        server.listen(0, "127.0.0.1", () => {
          resume(Effect.succeed({ server, port: (server.address() as Net.AddressInfo).port, peers }))
        })
      }
    ),
    ({ peers, server }) =>
      Effect.callback<void>((resume) => {
        for (const peer of peers) peer.socket.destroy()
        server.close(() => resume(Effect.void))
      })
  )

export const sampleKey = "dGhlIHNhbXBsZSBub25jZQ=="

/** A handshake request that is in order, but for the given headers: undefined leaves one out. */
export const requestText = (
  headers: Readonly<Record<string, string | undefined>> = {},
  requestLine = "GET / HTTP/1.1"
): string => {
  const all: Record<string, string | undefined> = {
    Host: "127.0.0.1",
    Upgrade: "websocket",
    Connection: "Upgrade",
    "Sec-WebSocket-Key": sampleKey,
    "Sec-WebSocket-Version": "13",
    ...headers
  }
  const lines = Object.entries(all).filter(([, value]) => value !== undefined).map(([name, value]) =>
    `${name}: ${value}`
  )
  return [requestLine, ...lines, "", ""].join("\r\n")
}

/** The response that accepts a handshake request, with further header lines. */
export const upgradeResponse = (request: Uint8Array, ...headers: ReadonlyArray<string>): string => {
  const key = /Sec-WebSocket-Key: (\S+)/i.exec(Buffer.from(request).toString("latin1"))?.[1] ?? ""
  const accept = `Sec-WebSocket-Accept: ${Handshake.acceptKey(key)}`
  return ["HTTP/1.1 101 OK", "Upgrade: websocket", "Connection: Upgrade", accept, ...headers, "", ""].join("\r\n")
}

export const headEnd = "\r\n\r\n"

/** The head of the response that has come, and what stands behind it. */
export const splitHead = (received: Buffer): { readonly head: string; readonly rest: Buffer } => {
  const end = received.indexOf(headEnd)
  return { head: received.subarray(0, end).toString("latin1"), rest: received.subarray(end + headEnd.length) }
}

/** Opens a connection by hand, and decodes what the server sends. */
export const rawHandshake = (port: number, headers?: Readonly<Record<string, string | undefined>>) =>
  Effect.gen(function*() {
    const peer = yield* rawConnect(port)
    peer.write(requestText(headers))
    const { head } = splitHead(yield* peer.until((received) => received.includes(headEnd)))
    const frames = (): ReadonlyArray<Frame.Frame> => {
      const decoder = Frame.makeDecoder({ role: "client", maxFrameSize: Number.MAX_SAFE_INTEGER })
      return decoder.decode(Buffer.from(splitHead(peer.received()).rest)).frames
    }
    return {
      ...peer,
      head,
      send: (...sent: ReadonlyArray<Frame.Frame>) =>
        peer.write(Buffer.concat(sent.map((frame) => Frame.encode(frame, 7)))),
      frames,
      untilFrames: (count: number) => Effect.map(peer.until(() => frames().length >= count), frames)
    }
  })

/** Runs a program with a layer that lives as long as it. */
export const withLayer = <A, E, R, E2>(effect: Effect.Effect<A, E, R>, layer: Layer.Layer<never, E2>) =>
  Effect.scoped(Effect.andThen(Layer.build(layer), effect))

/** A relay in front of a port of this machine, which can be cut as networks are. Answers its own port. */
export const relay = (target: number): Effect.Effect<Relay, never, Scope.Scope> =>
  Effect.gen(function*() {
    const sockets = new Set<Net.Socket>()
    const join = (from: Net.Socket, to: Net.Socket) => {
      sockets.add(from)
      from.setNoDelay(true)
      from.pipe(to)
      from.on("error", () => to.destroy())
      from.on("close", () => sockets.delete(from))
    }
    const { port } = yield* rawServer(({ socket }) => {
      const onward = Net.connect({ port: target, host: "127.0.0.1", allowHalfOpen: true })
      join(socket, onward)
      join(onward, socket)
    })
    const cut = (how: Cut) =>
      Effect.sync(() => {
        for (const socket of sockets) {
          socket.unpipe()
          if (how === "reset") socket.resetAndDestroy()
          else socket.end()
        }
      })
    yield* Effect.addFinalizer(() => cut("reset"))
    return { port, cut }
  })

export interface Relay {
  readonly port: number
  /** Ends all connections, both ways: with a FIN, as when a process dies, or with a RST. */
  readonly cut: (how: Cut) => Effect.Effect<void>
}

export type Cut = "end" | "reset"
