/** A WebSocket as the WHATWG standard describes it, driven by the test: its states, and what its methods throw. */
import { Effect, Layer } from "effect"
import { BrowserClient } from "effect-ws"

type Events = BrowserClient.WebSocketEvents

const states = { connecting: 0, open: 1, closing: 2, closed: 3 }

const sizeOf = (data: string | Uint8Array): number => Buffer.byteLength(data)

export class FakeWebSocket implements BrowserClient.WebSocketLike {
  binaryType = "blob"
  readyState = states.connecting
  bufferedAmount = 0
  protocol = ""
  readonly url: string
  readonly protocols: ReadonlyArray<string>
  readonly sent: Array<string | Uint8Array> = []
  /** The arguments of each call of `close`. */
  readonly closes: Array<ReadonlyArray<unknown>> = []
  /** Called for what is sent while the socket is open. Default: it leaves at once. */
  onSend: (data: string | Uint8Array) => void = () => {}
  onClose: (code: number | undefined, reason: string | undefined) => void = () => {}
  private readonly listeners = new Map<string, Set<(event: never) => void>>()

  constructor(url: string, protocols: ReadonlyArray<string> = []) {
    this.url = url
    this.protocols = protocols
  }

  addEventListener<T extends keyof Events>(type: T, listener: (event: Events[T]) => void): void {
    const all = this.listeners.get(type) ?? new Set()
    this.listeners.set(type, all.add(listener))
  }

  removeEventListener<T extends keyof Events>(type: T, listener: (event: Events[T]) => void): void {
    this.listeners.get(type)?.delete(listener)
  }

  listenersOf(type: keyof Events): number {
    return this.listeners.get(type)?.size ?? 0
  }

  send(data: string | Uint8Array): void {
    if (this.readyState === states.connecting) throw new DOMException("not open", "InvalidStateError")
    if (
      typeof data !== "string" &&
      (!(data.buffer instanceof ArrayBuffer) || "resizable" in data.buffer && data.buffer.resizable === true)
    ) {
      throw new TypeError("the view is of shared or resizable memory")
    }
    if (this.readyState !== states.open) {
      this.bufferedAmount += sizeOf(data)
      return
    }
    const copy = typeof data === "string" ? data : data.slice()
    this.sent.push(copy)
    this.onSend(copy)
  }

  close(code?: number, reason?: string): void {
    if (code !== undefined && code !== 1000 && !(code >= 3000 && code <= 4999)) {
      throw new DOMException(`the code ${code}`, "InvalidAccessError")
    }
    if (reason !== undefined && sizeOf(reason) > 123) throw new DOMException("the reason", "SyntaxError")
    this.closes.push(code === undefined ? [] : [code, reason])
    if (this.readyState >= states.closing) return
    this.readyState = states.closing
    this.onClose(code, reason)
  }

  // -- what the network does -----------------------------------------------------

  dispatch<T extends keyof Events>(type: T, event: Events[T]): void {
    for (const listener of [...this.listeners.get(type) ?? []]) listener(event as never)
  }

  accept(protocol = ""): void {
    this.readyState = states.open
    this.protocol = protocol
    this.dispatch("open", {})
  }

  /** The handshake fails, or the connection is lost. */
  lose(error?: unknown): void {
    this.readyState = states.closed
    this.dispatch("error", { error })
    this.dispatch("close", { code: 1006, reason: "", wasClean: false })
  }

  /** A message, which the browser drops once closing has begun. */
  deliver(data: unknown): void {
    if (this.readyState === states.open) this.dispatch("message", { data })
  }

  /** The peer's close frame has arrived. */
  beginClosing(): void {
    this.readyState = states.closing
  }

  /** Both close frames are there, and the connection has ended. */
  end(code = 1005, reason = "", wasClean = true): void {
    this.readyState = states.closed
    this.dispatch("close", { code, reason, wasClean })
  }
}

/** The sockets that a program makes, in order. `script` runs in the turn after each is made. */
export const fakeSockets = (script: (socket: FakeWebSocket) => void = () => {}) => {
  const sockets: Array<FakeWebSocket> = []
  const construct: BrowserClient.WebSocketConstructor = (url, protocols) => {
    const socket = new FakeWebSocket(url, protocols)
    sockets.push(socket)
    setImmediate(() => script(socket))
    return socket
  }
  return { sockets, layer: Layer.succeed(BrowserClient.WebSocketConstructor, construct) }
}

/** An open connection over a fake. The peer completes each closing handshake. */
export const openFake = (options?: BrowserClient.ConnectOptions) =>
  Effect.gen(function*() {
    const { layer, sockets } = fakeSockets((socket) => {
      socket.onClose = (code, reason) => setImmediate(() => socket.end(code, reason))
      socket.accept()
    })
    const connection = yield* Effect.provide(BrowserClient.connect("ws://there/", options), layer)
    return { connection, socket: sockets[0] }
  })
