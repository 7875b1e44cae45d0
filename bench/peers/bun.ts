import type { BunRuntime, BunSocket } from "../bun.ts"
import type { Serving } from "../scenarios.ts"

declare const Bun: BunRuntime

const topic = "all"

/** Its default has no context takeover, which needs a compressor for each connection. */
const compression = { noTakeover: true, takeover: { compress: "dedicated", decompress: "dedicated" } } as const

/** Each connection publishes to all others. */
export const listen = ({ deflate }: Serving): Promise<number> => {
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: (request: Request) => {
      server.upgrade(request)
    },
    websocket: {
      perMessageDeflate: deflate === undefined ? false : compression[deflate],
      idleTimeout: 0,
      // What is sent faster than a connection takes it is dropped above that.
      backpressureLimit: 64 * 1024 * 1024,
      open: (socket: BunSocket) => socket.subscribe(topic),
      message: (socket: BunSocket, message: string | Uint8Array) => {
        socket.publish(topic, message, deflate !== undefined)
      }
    }
  })
  return Promise.resolve(server.port)
}
