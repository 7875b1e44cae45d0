/**
 * The protocol of servers of `effect/rpc` over connections: each connection is a client. A message of the connection
 * is a message of the RPC protocol, or several in an array, as over a `Socket`.
 */
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Queue from "effect/Queue"
import type { FromClientEncoded, FromServerEncoded, RequestEncoded } from "effect/rpc/RpcMessage"
import type * as RpcSerialization from "effect/rpc/RpcSerialization"
import type * as RpcServer from "effect/rpc/RpcServer"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as CloseCode from "../../CloseCode.ts"
import type { Connection } from "../../Connection.ts"
import type { ConnectionClosed } from "../../ConnectionError.ts"
import type { Message } from "../../Message.ts"
import { fitReason } from "../connection/closeRules.ts"
import { reasonOf } from "../runtime/describe.ts"
import { StreamWindows } from "./streamWindows.ts"

type Serialization = RpcSerialization.RpcSerialization["Service"]
type HandleRequest = Parameters<RpcServer.Protocol["Service"]["run"]>[0]

export class ServerProtocol {
  private readonly serialization: Serialization
  private readonly encodeDefect: (defect: unknown) => unknown
  readonly streamWindow: number
  private readonly clients = new Map<number, Client>()
  private readonly disconnects: Queue.Queue<number>
  private lastId = 0
  /** What a running RPC server does with a message. Without one, connections wait, unread. */
  private handleRequest: HandleRequest | undefined
  private readonly running = Latch.makeUnsafe(false)
  private readonly oneServer = Semaphore.makeUnsafe(1)

  constructor(serialization: Serialization, streamWindow: number, disconnects: Queue.Queue<number>) {
    this.serialization = serialization
    this.encodeDefect = Schema.encodeSync(serialization.codecFor(Schema.Defect()) as Schema.Codec<unknown>)
    this.streamWindow = streamWindow
    this.disconnects = disconnects
  }

  /** The service of `effect/rpc`. */
  get service(): RpcServer.Protocol["Service"] {
    return {
      run: (handleRequest) => this.oneServer.withPermit(this.run(handleRequest)),
      disconnects: this.disconnects,
      send: (clientId, response) => this.clients.get(clientId)?.send(response) ?? Effect.void,
      end: () => Effect.void,
      clientIds: Effect.sync(() => new Set(this.clients.keys())),
      initialMessage: Effect.succeed(Option.none()),
      supportsAck: true,
      supportsTransferables: false,
      supportsSpanPropagation: true,
      supportsNotifications: true,
      codecFor: this.serialization.codecFor
    }
  }

  private run(handleRequest: HandleRequest): Effect.Effect<never> {
    return Effect.suspend(() => {
      this.handleRequest = handleRequest
      this.running.openUnsafe()
      return Effect.ensuring(
        Effect.never,
        Effect.sync(() => {
          this.handleRequest = undefined
          this.running.closeUnsafe()
        })
      )
    })
  }

  /** Serves a connection until it ends. */
  handle(connection: Connection): Effect.Effect<void, ConnectionClosed> {
    return Effect.suspend(() => {
      const id = this.lastId++
      const client = new Client(id, connection, this)
      this.clients.set(id, client)
      return Effect.ensuring(
        Stream.runForEachArray(connection.messages, (messages) => client.receive(messages)),
        Effect.sync(() => {
          this.clients.delete(id)
          Queue.offerUnsafe(this.disconnects, id)
        })
      )
    })
  }

  makeParser(): RpcSerialization.Parser {
    return this.serialization.makeUnsafe()
  }

  /** Hands a message to the RPC server, once there is one. */
  request(clientId: number, message: FromClientEncoded): Effect.Effect<void> {
    const { handleRequest } = this
    if (handleRequest === undefined) {
      return this.running.whenOpen(Effect.suspend(() => this.request(clientId, message)))
    }
    return handleRequest(clientId, message)
  }

  defect(thrown: unknown): FromServerEncoded {
    return { _tag: "Defect", defect: this.encodeDefect(thrown) }
  }
}

/** A connection, which carries requests and responses. */
class Client {
  private readonly id: number
  private readonly connection: Connection
  private readonly protocol: ServerProtocol
  private readonly parser: RpcSerialization.Parser
  private readonly windows: StreamWindows
  /** The headers of the handshake, which each call has beside its own. */
  private readonly headers: ReadonlyArray<[string, string]>

  constructor(id: number, connection: Connection, protocol: ServerProtocol) {
    this.id = id
    this.connection = connection
    this.protocol = protocol
    this.parser = protocol.makeParser()
    this.windows = new StreamWindows(protocol.streamWindow)
    this.headers = Object.entries(connection.request.headers)
  }

  // -- Receiving ---------------------------------------------------------------

  receive(messages: ReadonlyArray<Message>): Effect.Effect<void> {
    return inOrder(messages, (message) => this.receiveMessage(message))
  }

  private receiveMessage(message: Message): Effect.Effect<void> {
    let requests: ReadonlyArray<unknown>
    try {
      requests = this.parser.decode(message._tag === "Text" ? message.text : message.bytes)
    } catch (cause) {
      if (!Predicate.isTagged(cause, "MaxBufferSizeExceeded")) return this.send(this.protocol.defect(cause))
      const reason = fitReason(reasonOf(cause))
      return Effect.orDie(Effect.asVoid(this.connection.close(CloseCode.MessageTooBig, reason)))
    }
    return inOrder(requests, (request) => this.receiveRequest(request))
  }

  /** The RPC server throws if a part of the message is not of the type that the protocol defines. */
  private receiveRequest(request: unknown): Effect.Effect<void> {
    try {
      const message = request as FromClientEncoded
      if (message._tag === "Ack" && !this.windows.acknowledge(message.requestId)) return Effect.void
      if (message._tag === "Request") {
        ;(message as { headers: RequestEncoded["headers"] }).headers = this.headers.concat(message.headers)
      }
      return this.protocol.request(this.id, message)
    } catch (cause) {
      return this.send(this.protocol.defect(cause))
    }
  }

  // -- Sending -----------------------------------------------------------------

  /** Sends a response. Once the connection has ended, it does nothing: the RPC server learns that from `disconnects`. */
  send(response: FromServerEncoded): Effect.Effect<void> {
    return Effect.catch(Effect.suspend(() => this.write(response)), () => Effect.void)
  }

  private write(response: FromServerEncoded): Effect.Effect<void, ConnectionClosed> {
    let encoded: string | Uint8Array | undefined
    try {
      encoded = this.parser.encode(response)
    } catch (cause) {
      encoded = this.parser.encode(this.protocol.defect(cause))
    }
    if (encoded === undefined) return Effect.void
    if (response._tag === "Chunk") return this.writeChunk(response.requestId, encoded)
    if (response._tag === "Exit") this.windows.end(response.requestId)
    else if (response._tag === "Defect") this.windows.clear()
    return this.connection.send(encoded)
  }

  /** Acknowledges a chunk for the client, if the window of its stream has room. */
  private writeChunk(requestId: string | number, encoded: string | Uint8Array): Effect.Effect<void, ConnectionClosed> {
    this.windows.send(requestId, encoded.length)
    return Effect.flatMap(
      this.connection.send(encoded),
      () =>
        this.windows.hasRoom(requestId)
          ? this.protocol.request(this.id, { _tag: "Ack", requestId })
          : Effect.void
    )
  }
}

/** Runs an effect for each item, one after the other. Nearly always there is one item, which takes no loop. */
const inOrder = <A>(items: ReadonlyArray<A>, run: (item: A) => Effect.Effect<void>): Effect.Effect<void> => {
  if (items.length === 1) return run(items[0])
  let next = 0
  return Effect.whileLoop({
    while: () => next < items.length,
    body: () => run(items[next++]),
    step: constVoid
  })
}
