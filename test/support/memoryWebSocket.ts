/** WebSocket objects of the standard over connections of this library, such as those in memory. */
import { Effect, Exit, Fiber, Queue, Scope } from "effect"
import { type BrowserClient, type HandshakeError, type MessageConnection } from "effect-ws"
import { FakeWebSocket } from "./fakeWebSocket.ts"

type Connect = (
  url: string,
  options: { readonly protocols: ReadonlyArray<string> }
) => Effect.Effect<MessageConnection.MessageConnection, HandshakeError.ConnectError, Scope.Scope>

/** Lets a fake behave as a browser whose network is `connect`. */
const drive = (socket: FakeWebSocket, connect: Connect) =>
  Effect.gen(function*() {
    const closing = yield* Queue.unbounded<readonly [number | undefined, string | undefined]>()
    socket.onClose = (...frame) => Queue.offerUnsafe(closing, frame)
    const connecting = Effect.exit(connect(socket.url, { protocols: socket.protocols }))
    const opened = yield* Effect.raceFirst(connecting, Effect.asVoid(Queue.take(closing)))
    if (opened === undefined || Exit.isFailure(opened)) return socket.lose()
    const connection = opened.value
    const outgoing = yield* Queue.unbounded<string | Uint8Array>()
    socket.onSend = (data) => {
      socket.bufferedAmount += data.length
      Queue.offerUnsafe(outgoing, data)
    }
    const sending = yield* Queue.take(outgoing).pipe(
      Effect.tap((data) => connection.send(data)),
      Effect.tap((data) => Effect.sync(() => socket.bufferedAmount -= data.length)),
      Effect.forever,
      Effect.forkScoped
    )
    socket.accept(connection.subprotocol)
    yield* Effect.forkScoped(Effect.flatMap(Queue.take(closing), ([code = 1005, reason]) =>
      Effect.gen(function*() {
        while (socket.bufferedAmount > 0 && sending.pollUnsafe() === undefined) yield* Effect.yieldNow
        yield* Effect.ignore(connection.close(code, reason))
      })))
    const closed = yield* connection.receive.pipe(
      Effect.map((message) =>
        socket.deliver(message._tag === "Text" ? message.text : new Uint8Array(message.bytes).buffer)
      ),
      Effect.forever,
      Effect.flip
    )
    yield* Fiber.interrupt(sending)
    if (closed.received === undefined) socket.lose()
    else socket.end(closed.received.code, closed.received.reason, closed.clean)
  }).pipe(Effect.scoped)

/** A constructor of such objects, which live in a Scope. */
export const memoryWebSocket = (connect: Connect) =>
  Effect.contextWith((context: import("effect").Context.Context<Scope.Scope>) =>
    Effect.map(Effect.scope, (scope): BrowserClient.WebSocketConstructor => (url, protocols) => {
      const socket = new FakeWebSocket(url, protocols)
      Fiber.runIn(Effect.runForkWith(context)(drive(socket, connect)), scope)
      return socket
    })
  )
