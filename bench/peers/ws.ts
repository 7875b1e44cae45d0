import type { AddressInfo } from "node:net"
import { WebSocketServer } from "ws"
import type { Mode } from "../scenarios.ts"

export const listen = (_mode: Mode, broadcast: boolean): Promise<number> =>
  new Promise((resolve) => {
    const server = new WebSocketServer({ port: 0, host: "127.0.0.1", backlog: 4096 })
    server.on("listening", () => resolve((server.address() as AddressInfo).port))
    server.on("connection", (socket) => {
      socket.on("error", () => {})
      socket.on("message", (data, binary) => {
        if (!broadcast) return socket.send(data, { binary })
        for (const client of server.clients) if (client !== socket) client.send(data, { binary })
      })
    })
  })
