import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Net from "node:net"
import { Duplex } from "node:stream"
import { readIntoSharedBuffer, sharedView } from "../../../src/internal/streams/sharedReadBuffer.ts"
import { socketPair } from "../../support/net.ts"

/** What a socket reads until its end, and how it was delivered. */
const deliveries = (socket: Net.Socket) =>
  Effect.callback<ReadonlyArray<string>>((resume) => {
    const delivered: Array<string> = []
    const shared = readIntoSharedBuffer(socket, function(this: Net.Socket, size) {
      delivered.push(`callback ${this === socket} ${Buffer.from(sharedView(size)).toString()}`)
      return true
    })
    delivered.push(`shared ${shared}`)
    socket.on("data", (data: Buffer) => delivered.push(`data ${data.toString()}`))
    socket.on("end", () => resume(Effect.succeed(delivered)))
  })

describe("readIntoSharedBuffer", () => {
  it.live("a socket of this Node reads into the shared buffer", () =>
    Effect.gen(function*() {
      const [socket, peer] = yield* socketPair
      peer.end("hello")
      assert.deepStrictEqual(yield* deliveries(socket), ["shared true", "callback true hello"])
    }))

  it.live("a socket whose handle lacks the function, or throws, reads through its stream", () =>
    Effect.gen(function*() {
      const throws = () => {
        throw new Error("not implemented")
      }
      for (const useUserBuffer of [undefined, throws]) {
        const [socket, peer] = yield* socketPair
        Object.assign(Reflect.get(socket, "_handle"), { useUserBuffer })
        peer.end("hello")
        assert.deepStrictEqual(yield* deliveries(socket), ["shared false", "data hello"])
      }
    }))

  it("rejects other streams, and sockets that are not connected", () => {
    const duplex = new Duplex({ read: () => {}, write: (_chunk, _encoding, done) => done() })
    assert.isFalse(readIntoSharedBuffer(duplex, () => true))
    assert.isFalse(readIntoSharedBuffer(new Net.Socket(), () => true))
  })
})
