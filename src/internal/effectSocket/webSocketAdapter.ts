/**
 * A connection with those events and methods of a browser's WebSocket that
 * `effect/socket` uses. While it is paused, backpressure reaches the peer.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import type * as Socket from "effect/socket/Socket"
import * as Stream from "effect/Stream"
import * as CloseCode from "../../CloseCode.ts"
import { InvalidInput } from "../../ConnectionError.ts"
import type { ConnectError } from "../../HandshakeError.ts"
import type * as Message from "../../Message.ts"
import type { MessageConnection } from "../../MessageConnection.ts"
import { checkClose } from "../connection/closeRules.ts"
import { copyOf, sendableOf } from "../connection/input.ts"

type EventName = "open" | "message" | "error" | "close"
type Listener = (event: Socket.WebSocketEvent) => void
type Run = (effect: Effect.Effect<unknown>) => Fiber.Fiber<unknown>

const states = { connecting: 0, open: 1, closing: 2, closed: 3 }

export class WebSocketAdapter implements Socket.WebSocketLike {
  readyState = states.connecting
  private readonly listeners: Record<EventName, Map<Listener, boolean>> = {
    open: new Map(),
    message: new Map(),
    error: new Map(),
    close: new Map()
  }
  private readonly resumed = Latch.makeUnsafe(true)
  private connection: MessageConnection | undefined
  private readonly run: Run
  private readonly fiber: Fiber.Fiber<unknown>
  /** The last send: it completes after those before it. */
  private lastSend: Fiber.Fiber<unknown> | undefined

  constructor(
    connect: Effect.Effect<MessageConnection, ConnectError, Scope.Scope>,
    run: Run
  ) {
    this.run = run
    // The caller adds its listeners before the next turn.
    this.fiber = run(this.deliverEvents(Effect.andThen(Effect.yieldNow, connect)))
  }

  addEventListener(type: EventName, listener: Listener, options?: { readonly once?: boolean }): void {
    this.listeners[type].set(listener, options?.once === true)
  }

  removeEventListener(type: EventName, listener: Listener): void {
    this.listeners[type].delete(listener)
  }

  /** Sends a copy once there is room, without a notice. Throws `InvalidInput` if the data is not a message. */
  send(data: string | Uint8Array<ArrayBuffer>): void {
    if (this.connection === undefined) throw new Error("the WebSocket is not open yet")
    const sendable = sendableOf(data)
    if (sendable instanceof InvalidInput) throw sendable
    if (this.readyState >= states.closing) return
    this.lastSend = this.run(Effect.ignore(this.connection.send(copyOf(data))))
  }

  /** Closes the connection after what was sent. Throws if the code or the reason is invalid, as a WebSocket does. */
  close(code: number = CloseCode.NormalClosure, reason = ""): void {
    const problem = checkClose(code, reason)
    if (problem !== undefined) throw problem
    if (this.readyState >= states.closing) return
    this.readyState = states.closing
    if (this.connection === undefined) this.fiber.interruptUnsafe()
    else {
      const sent = this.lastSend === undefined ? Effect.void : Fiber.await(this.lastSend)
      this.run(Effect.andThen(sent, Effect.orDie(this.connection.close(code, reason))))
    }
  }

  pause(): void {
    this.resumed.closeUnsafe()
  }

  resume(): void {
    this.resumed.openUnsafe()
  }

  private deliverEvents(connect: Effect.Effect<MessageConnection, ConnectError, Scope.Scope>) {
    return Effect.flatMap(connect, (connection) => {
      this.connection = connection
      this.readyState = states.open
      this.emit("open", {})
      return Effect.andThen(
        Effect.ignore(Stream.runForEachArray(connection.messages, (messages) => this.deliver(messages))),
        connection.closed
      )
    }).pipe(
      Effect.scoped,
      Effect.onExit((exit) =>
        Effect.sync(() => {
          if (Exit.isFailure(exit)) this.emit("error", { data: exit.cause })
          this.readyState = states.closed
          const { code, reason } = Exit.isSuccess(exit) ? exit.value : { code: CloseCode.AbnormalClosure, reason: "" }
          this.emit("close", { code, reason })
        })
      ),
      Effect.exit
    )
  }

  private deliver(messages: NonEmptyReadonlyArray<Message.Message>): Effect.Effect<void> {
    let next = 0
    return Effect.whileLoop({
      while: () => next < messages.length,
      body: () => this.resumed.await,
      step: () => {
        const message = messages[next++]
        this.emit("message", { data: message._tag === "Text" ? message.text : message.bytes })
      }
    })
  }

  private emit(type: EventName, event: Socket.WebSocketEvent): void {
    for (const [listener, once] of this.listeners[type]) {
      if (once) this.listeners[type].delete(listener)
      listener({ type, ...event })
    }
  }
}
