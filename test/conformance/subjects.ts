/** What is tested: an echo on default options, as a server and as a client, with this library and with ws; with permessage-deflate, where a case is about it. */
import { Deferred, Effect, Fiber, Stream } from "effect"
import { Connection, PerMessageDeflate, WebSocketClient, WebSocketServer } from "effect-ws"
import { createRequire } from "node:module"
import type { AddressInfo } from "node:net"
import * as Ws from "ws"
import { bridge } from "./http2Bridge.ts"

export interface ServerSubject {
  readonly role: "server"
  readonly name: string
  /** Whether it is this library. */
  readonly own: boolean
  readonly port: number
  /** Where it compresses. */
  readonly deflatePort: number
  readonly stop: () => Promise<unknown>
  /** Whether the ports are those of a bridge to HTTP/2. */
  readonly http2?: boolean
}

export interface ClientSubject {
  readonly role: "client"
  readonly name: string
  readonly own: boolean
  /** Connects, and echoes. At the end answers the error that it could not connect for, if it could not. */
  readonly connect: (
    port: number,
    protocols: ReadonlyArray<string>,
    compresses: boolean
  ) => Promise<string | undefined>
}

export type Subject = ServerSubject | ClientSubject

export const isHttp2 = (subject: Subject): boolean => subject.role === "server" && subject.http2 === true

const host = "127.0.0.1"

// -----------------------------------------------------------------------------
// effect-ws
// -----------------------------------------------------------------------------

const echo = (connection: Connection.Connection) => Stream.runForEach(connection.messages, connection.send)

const own = { name: "effect-ws", own: true } as const

export const ownServer = async (makeOptions?: WebSocketServer.MakeOptions): Promise<ServerSubject> => {
  const listening = Deferred.makeUnsafe<{ readonly port: number; readonly deflatePort: number }>()
  const listen = (options: WebSocketServer.ServeOptions) =>
    Effect.gen(function*() {
      const server = yield* WebSocketServer.make({ host, ...makeOptions })
      yield* server.serve(Effect.flatMap(Connection.Connection, echo), options)
      return server.address._tag === "Tcp" ? server.address.port : 0
    })
  const program = Effect.gen(function*() {
    const port = yield* listen({})
    const deflatePort = yield* listen({ extensions: [PerMessageDeflate.make()] })
    yield* Deferred.succeed(listening, { port, deflatePort })
    return yield* Effect.never
  })
  const fiber = Effect.runFork(Effect.scoped(program))
  const ports = await Effect.runPromise(Deferred.await(listening))
  return { ...own, ...ports, role: "server", stop: () => Effect.runPromise(Fiber.interrupt(fiber)) }
}

export const ownHttp2Server = async (): Promise<ServerSubject> => {
  const server = await ownServer({ cleartextHttp2: true })
  const [plain, deflating] = [await bridge(server.port), await bridge(server.deflatePort)]
  const stop = () => {
    plain.stop()
    deflating.stop()
    return server.stop()
  }
  const name = `${own.name} over HTTP/2`
  return { ...server, name, http2: true, port: plain.port, deflatePort: deflating.port, stop }
}

const deflate = PerMessageDeflate.make()

export const ownClient: ClientSubject = {
  ...own,
  role: "client",
  connect: (port, protocols, compresses) =>
    WebSocketClient.connect(`ws://${host}:${port}/`, { protocols, extensions: compresses ? [deflate] : [] }).pipe(
      Effect.flatMap(echo),
      Effect.scoped,
      Effect.match({
        onSuccess: () => undefined,
        onFailure: (error) => error._tag === "ConnectionClosed" ? undefined : error._tag
      }),
      Effect.runPromise
    )
}

// -----------------------------------------------------------------------------
// ws
// -----------------------------------------------------------------------------

const { version } = createRequire(import.meta.url)("ws/package.json") as { version: string }
const ws = { name: `ws ${version}`, own: false } as const

const echoOfWs = (socket: Ws.WebSocket): void => {
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }))
  // What a peer does wrong is an error event; the connection is closed without our doing.
  socket.on("error", () => {})
}

const listenOfWs = (perMessageDeflate: boolean): Promise<Ws.WebSocketServer> =>
  new Promise((resolve) => {
    const server: Ws.WebSocketServer = new Ws.WebSocketServer(
      { host, port: 0, perMessageDeflate },
      () => resolve(server)
    )
    server.on("connection", echoOfWs)
  })

export const wsServer = async (): Promise<ServerSubject> => {
  const servers = [await listenOfWs(false), await listenOfWs(true)]
  const [port, deflatePort] = servers.map((server) => (server.address() as AddressInfo).port)
  const stop = (server: Ws.WebSocketServer) => {
    for (const client of server.clients) client.terminate()
    return new Promise<unknown>((done) => server.close(done))
  }
  return { ...ws, role: "server", port, deflatePort, stop: () => Promise.all(servers.map(stop)) }
}

export const wsClient: ClientSubject = {
  ...ws,
  role: "client",
  connect: (port, protocols, perMessageDeflate) =>
    new Promise((resolve) => {
      const socket = new Ws.WebSocket(`ws://${host}:${port}/`, [...protocols], { perMessageDeflate })
      let refusal: string | undefined = "refused"
      socket.on("open", () => {
        refusal = undefined
      })
      echoOfWs(socket)
      socket.on("close", () => resolve(refusal))
    })
}
