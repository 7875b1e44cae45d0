import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { Server } from "socket.io"

export const listen = (): Promise<number> =>
  new Promise((resolve) => {
    const http = createServer()
    new Server(http, { transports: ["websocket"] }).on("connection", (socket) => {
      socket.on("p", (data: string) => socket.broadcast.emit("p", data))
    })
    http.listen(0, "127.0.0.1", 4096, () => resolve((http.address() as AddressInfo).port))
  })
