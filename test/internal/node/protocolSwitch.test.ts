import { assert, describe, it } from "@effect/vitest"
import * as Http from "node:http"
import { Duplex } from "node:stream"
import { switchProtocols } from "../../../src/internal/node/protocolSwitch.ts"

/** A server whose listeners record which of them gets a socket, and what they read. */
const make = () => {
  const server = Http.createServer()
  server.removeAllListeners("connection")
  const served: Array<{ readonly protocol: string; bytes: string }> = []
  const serve = (protocol: string) => (socket: Duplex) => {
    const entry = { protocol, bytes: "" }
    served.push(entry)
    socket.on("data", (chunk) => entry.bytes += chunk).resume()
  }
  server.on("connection", serve("HTTP/1.1"))
  switchProtocols(server, "connection", serve("HTTP/2"))
  const connect = (properties: object = {}) => {
    const socket = new Duplex({ read() {}, write() {} })
    server.emit("connection", Object.assign(socket, properties))
    return socket
  }
  return { connect, served }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

describe("switchProtocols", () => {
  it("ALPN decides for a TLS socket, and nothing is read", () => {
    const { connect, served } = make()
    for (const alpnProtocol of ["h2", "http/1.1", false]) connect({ alpnProtocol })
    assert.deepStrictEqual(served.map(({ protocol }) => protocol), ["HTTP/2", "HTTP/1.1", "HTTP/1.1"])
  })

  for (
    const [protocol, chunks] of [
      ["HTTP/2", ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]],
      ["HTTP/2", ["P", "R", "I", " * HTTP/2.0"]],
      ["HTTP/1.1", ["GET / HTTP/1.1\r\n"]],
      ["HTTP/1.1", ["P", "O", "ST / HTTP/1.1\r\n"]],
      ["HTTP/1.1", ["PR", "OPFIND / HTTP/1.1\r\n"]]
    ] as const
  ) {
    it(`serves ${JSON.stringify(chunks)} as ${protocol}, as soon as the bytes tell, and keeps them`, async () => {
      const { connect, served } = make()
      const socket = connect()
      const whole = chunks.join("")
      const decisive = protocol === "HTTP/2" ? 3 : [...whole].findIndex((char, i) => char !== "PRI"[i]) + 1
      let length = 0
      for (const chunk of chunks) {
        assert.strictEqual(served.length, length >= decisive ? 1 : 0, `after ${length} bytes`)
        socket.push(chunk)
        length += chunk.length
        await turn()
      }
      assert.deepStrictEqual(served, [{ protocol, bytes: whole }])
      assert.strictEqual(socket.listenerCount("error"), 0)
    })
  }

  it("destroys a socket that ends or fails before its bytes tell", async () => {
    const { connect, served } = make()
    const [ended, failed] = [connect(), connect()]
    ended.push("PR")
    ended.push(null)
    failed.emit("error", new Error("reset"))
    await turn()
    assert.deepStrictEqual([ended.destroyed, failed.destroyed, served.length], [true, true, 0])
  })
})
