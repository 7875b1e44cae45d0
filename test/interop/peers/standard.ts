/** What a peer does, over the WebSocket that the web has. Goes into pages as text, and so needs nothing around it. */

/** What is common to the WebSockets of Chromium, undici and Bun. */
export interface StandardWebSocket {
  binaryType: string
  readonly protocol: string
  send(data: string | ArrayBuffer): void
  close(code?: number, reason?: string): void
  onmessage: ((event: { readonly data: string | ArrayBuffer }) => void) | null
  onclose: ((event: { readonly code: number; readonly reason: string }) => void) | null
}

export const obey = (socket: StandardWebSocket, report: (code: number, reason: string) => void): void => {
  socket.binaryType = "arraybuffer"
  socket.onclose = ({ code, reason }) => report(code, reason)
  socket.onmessage = ({ data }) => {
    const [, verb, code, reason] = /^please (\w+) ?(\d*) ?(.*)$/.exec(typeof data === "string" ? data : "") ?? []
    if (verb === "subprotocol") socket.send(socket.protocol)
    else if (verb !== "close") socket.send(data)
    else if (code === "") socket.close()
    else socket.close(Number(code), reason)
  }
}
