import * as Net from "node:net"

export const listen = (): Promise<number> =>
  new Promise((resolve) => {
    const server = Net.createServer({ noDelay: true }, (socket) => {
      socket.on("error", () => {})
      socket.on("data", (chunk) => socket.write(chunk))
    })
    server.listen(
      { port: 0, host: "127.0.0.1", backlog: 4096 },
      () => resolve((server.address() as Net.AddressInfo).port)
    )
  })
