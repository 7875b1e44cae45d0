/** A peer on Bun, in both roles; it is told what to do, and tells what happened, as peer.py says. */
import { createInterface } from "node:readline"

const tell = (fact) => console.log(JSON.stringify(fact))

/** `socket` is of the server or of the client: both have the methods that are used. */
const obey = (socket, protocol, data) => {
  const [, verb, rest] = /^please (\w+) ?(.*)$/.exec(typeof data === "string" ? data : "") ?? []
  const [, code, reason] = /^(\d*) ?(.*)$/.exec(rest ?? "") ?? []
  if (verb === "subprotocol") socket.send(protocol)
  else if (verb === "ping") socket.ping(rest)
  // The second argument has the server compress; the client does what it will.
  else if (verb !== "close") socket.send(data, true)
  else if (code === "") socket.close()
  else socket.close(Number(code), reason)
}

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: (request, self) => {
    const offered = (request.headers.get("Sec-WebSocket-Protocol") ?? "").split(/, */)
    const protocol = offered.includes("v2") ? "v2" : undefined
    const headers = protocol === undefined ? {} : { "Sec-WebSocket-Protocol": protocol }
    const upgraded = self.upgrade(request, { headers, data: { path: new URL(request.url).pathname, protocol } })
    return upgraded ? undefined : new Response("", { status: 400 })
  },
  websocket: {
    perMessageDeflate: true,
    maxPayloadLength: 2 ** 28,
    backpressureLimit: 2 ** 28,
    message: (socket, data) => obey(socket, socket.data.protocol, data),
    pong: (socket, data) => data.length > 0 && socket.send(`pong ${data}`),
    close: (socket, code, reason) => tell({ ended: socket.data.path, code, reason })
  }
})

const connect = ({ path, protocols, url }) => {
  const socket = new WebSocket(url, protocols)
  socket.binaryType = "nodebuffer"
  socket.addEventListener("message", ({ data }) => obey(socket, socket.protocol, data))
  socket.addEventListener("pong", ({ data }) => data.length > 0 && socket.send(`pong ${data}`))
  socket.addEventListener("close", ({ code, reason }) => tell({ ended: path, code, reason }))
}

createInterface({ input: process.stdin })
  .on("line", (line) => connect(JSON.parse(line)))
  .on("close", () => process.exit())

tell({ port: server.port })
