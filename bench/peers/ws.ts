import type { AddressInfo } from "node:net"
import { type RawData, type WebSocket, WebSocketServer } from "ws"
import type { Service, Serving } from "../scenarios.ts"

type Handler = (socket: WebSocket, data: RawData, binary: boolean, server: WebSocketServer) => void

const typed: Handler = (socket, data) => socket.send(JSON.stringify(JSON.parse((data as Buffer).toString())))

const handlers: Record<Service, Handler> = {
  echo: (socket, data, binary) => socket.send(data, { binary }),
  typed,
  compiled: typed,
  broadcast: (socket, data, binary, { clients }) => {
    for (const client of clients) if (client !== socket) client.send(data, { binary })
  }
}

export const listen = ({ deflate, service }: Serving): Promise<number> =>
  new Promise((resolve) => {
    const server = new WebSocketServer({
      port: 0,
      host: "127.0.0.1",
      backlog: 4096,
      // Its threshold would leave messages of a kilobyte out.
      perMessageDeflate: deflate === undefined ? false : { threshold: 128 }
    })
    const handle = handlers[service]
    server.on("listening", () => resolve((server.address() as AddressInfo).port))
    server.on("connection", (socket) => {
      socket.on("error", () => {})
      socket.on("message", (data, binary) => handle(socket, data, binary, server))
    })
  })
