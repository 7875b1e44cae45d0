/** Against the WebSocket of undici, which is also Node's own, and its WebSocketStream. */
import { Effect } from "effect"
import { createRequire } from "node:module"
import { Agent, WebSocket, WebSocketStream } from "undici"
import { tls } from "../support/certificates.ts"
import { interop, makeEnds } from "./exchanges.ts"
import { obey, type StandardWebSocket } from "./peers/standard.ts"

const { version } = createRequire(import.meta.url)("undici/package.json") as { version: string }

const cannot = {
  ping: "the standard has no way to ping",
  fragments: "the standard has no way to send fragments",
  compress: "it decompresses, and does not compress",
  "close with a code of the protocol": "the standard allows 1000 and what is of applications"
}

const webSocketOver = (http2: "tls" | undefined) => ({
  title: `the WebSocket of undici ${version}${http2 === undefined ? "" : " over HTTP/2"}`,
  roles: ["client"] as const,
  cannot,
  start: Effect.gen(function*() {
    const { ended, report } = makeEnds()
    const dispatcher = yield* Effect.acquireRelease(
      Effect.sync(() =>
        new Agent({ allowH2: http2 !== undefined, connect: { ca: tls.cert, rejectUnauthorized: false } })
      ),
      (agent) => Effect.promise(() => agent.destroy())
    )
    return {
      ended,
      http2,
      // It does not end its side of an HTTP/2 stream.
      closeTimeout: http2 === undefined ? undefined : "2 seconds" as const,
      connect: (url: string, protocols: ReadonlyArray<string>) =>
        Effect.acquireRelease(
          Effect.sync(() => {
            const socket = new WebSocket(url, { protocols: [...protocols], dispatcher })
            obey(socket as unknown as StandardWebSocket, (code, reason) => report(new URL(url).pathname, code, reason))
            return socket
          }),
          (socket) => Effect.sync(() => socket.close())
        )
    }
  })
})

interop(webSocketOver(undefined))
interop(webSocketOver("tls"))

const obeyStream = async (stream: WebSocketStream): Promise<void> => {
  const { protocol, readable, writable } = await stream.opened
  const writer = writable.getWriter()
  for await (const data of readable as AsyncIterable<string | Uint8Array>) {
    const [, verb, code, reason] = /^please (\w+) ?(\d*) ?(.*)$/.exec(typeof data === "string" ? data : "") ?? []
    if (verb === "subprotocol") await writer.write(protocol)
    else if (verb !== "close") await writer.write(data)
    else stream.close(code === "" ? {} : { closeCode: Number(code), reason: reason ?? "" })
  }
}

interop({
  title: `the WebSocketStream of undici ${version}`,
  roles: ["client"],
  cannot,
  start: Effect.sync(() => {
    const { ended, report } = makeEnds()
    return {
      ended,
      connect: (url, protocols) =>
        Effect.acquireRelease(
          Effect.sync(() => {
            const stream = new WebSocketStream(url, { protocols: [...protocols] })
            const tell = ({ closeCode, reason }: { readonly closeCode: number; readonly reason: string }) =>
              report(new URL(url).pathname, closeCode, reason)
            // The reason of a WebSocketError is the only one that has a code.
            stream.closed.then(
              tell,
              (error) => tell({ closeCode: error.closeCode ?? 1006, reason: error.reason ?? "" })
            )
            obeyStream(stream).catch(() => {})
            return stream
          }),
          (stream) => Effect.sync(() => stream.close())
        )
    }
  })
})
