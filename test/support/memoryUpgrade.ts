/** An upgrade request in memory, for sessions without a Node server. */
import { Effect, Function } from "effect"
import { type Handshake, Transport } from "effect-ws"
import type { RequestHead, Upgrade } from "../../src/internal/server/upgrade.ts"
import { sampleKey } from "./net.ts"

export const requestHead = (head?: Partial<RequestHead>): RequestHead => ({
  method: "GET",
  target: "/",
  httpVersion: "1.1",
  rawHeaders: [
    ["Host", "localhost"],
    ["Connection", "Upgrade"],
    ["Upgrade", "websocket"],
    ["Sec-WebSocket-Key", sampleKey],
    ["Sec-WebSocket-Version", "13"]
  ],
  secure: false,
  remoteAddress: "192.0.2.7",
  isTruncated: false,
  ...head
})

/** Records what a session does with its request. */
export class MemoryUpgrade implements Upgrade {
  readonly head: RequestHead
  /** The responses, and "abandoned" or "destroyed", in order. */
  readonly calls: Array<number | "abandoned" | "destroyed"> = []
  hasClientLeft = false
  isWatched = false
  readonly flushed = Effect.void
  private readonly transport: Transport.Transport
  private readonly onResponse: () => void
  private readonly closeCallbacks: Array<() => void> = []
  private onLeft: (() => void) | undefined
  private isClosed = false

  constructor(
    transport: Transport.Transport,
    head?: Partial<RequestHead>,
    onResponse: () => void = Function.constVoid
  ) {
    this.head = requestHead(head)
    this.transport = transport
    this.onResponse = onResponse
  }

  /** The client resets the stream. */
  leave(): void {
    this.hasClientLeft = true
    this.close()
    this.onLeft?.()
  }

  watchClient(onLeft: () => void): () => void {
    this.isWatched = true
    this.onLeft = onLeft
    return () => {
      this.isWatched = false
      this.onLeft = undefined
    }
  }

  accept(_request: Handshake.Request, response: Handshake.HttpResponse): Transport.Transport {
    this.calls.push(response.status)
    this.onResponse()
    return this.transport
  }

  reject(response: Handshake.HttpResponse): void {
    this.calls.push(response.status)
    this.onResponse()
    this.close()
  }

  rejectUnavailable(): void {
    this.calls.push(503)
    this.onResponse()
    this.close()
  }

  abandon(): void {
    this.calls.push("abandoned")
    this.onResponse()
    this.close()
  }

  onClose(callback: () => void): void {
    if (this.isClosed) callback()
    else this.closeCallbacks.push(callback)
  }

  destroy(): void {
    if (this.isClosed) return
    this.calls.push("destroyed")
    this.transport.destroy()
    this.close()
  }

  private close(): void {
    this.isClosed = true
    for (const callback of this.closeCallbacks.splice(0)) callback()
  }
}

/** Makes a request, the transport of its client, and a function that resets the stream in place of a client. */
export const memoryUpgrade = (head?: Partial<RequestHead>, onResponse?: () => void) =>
  Effect.map(Transport.makePair(), ([client, server]) => ({
    upgrade: new MemoryUpgrade(server, head, onResponse),
    client,
    reset: () => {
      client.start({
        onData: Function.constVoid,
        onDrain: Function.constVoid,
        onEnd: Function.constVoid,
        onClose: Function.constVoid
      })
      client.destroy()
    }
  }))
