import type { AddressInfo } from "node:net"
import { WebSocketServer } from "ws"

export const listen = (): Promise<number> =>
  new Promise((resolve) => {
    const server = new WebSocketServer({ port: 0, host: "127.0.0.1", backlog: 4096 })
    server.on("listening", () => resolve((server.address() as AddressInfo).port))
    server.on("connection", (socket) => {
      socket.on("error", () => {})
      socket.on("message", (data, binary) => socket.send(data, { binary }))
    })
  })
