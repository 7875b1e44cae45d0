import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Net from "node:net"
import { Duplex } from "node:stream"
import { readIntoSharedBuffer, sharedView } from "../../../src/internal/node/sharedReadBuffer.ts"
import { socketPair } from "../../support/net.ts"

/** What a socket reads until its end, and by which way it came. */
const ways = (socket: Net.Socket) =>
  Effect.callback<ReadonlyArray<string>>((resume) => {
    const came: Array<string> = []
    const shared = readIntoSharedBuffer(socket, function(this: Net.Socket, size) {
      came.push(`callback ${this === socket} ${Buffer.from(sharedView(size)).toString()}`)
      return true
    })
    came.push(`shared ${shared}`)
    socket.on("data", (data: Buffer) => came.push(`data ${data.toString()}`))
    socket.on("end", () => resume(Effect.succeed(came)))
  })

describe("readShared", () => {
  it.live("has a socket of this Node read into the buffer", () =>
    Effect.gen(function*() {
      const [socket, peer] = yield* socketPair
      peer.end("hello")
      assert.deepStrictEqual(yield* ways(socket), ["shared true", "callback true hello"])
    }))

  it.live("leaves a socket as it is where it has no such thing, or it does not work", () =>
    Effect.gen(function*() {
      const throws = () => {
        throw new Error("not implemented")
      }
      for (const useUserBuffer of [undefined, throws]) {
        const [socket, peer] = yield* socketPair
        Object.assign(Reflect.get(socket, "_handle"), { useUserBuffer })
        peer.end("hello")
        assert.deepStrictEqual(yield* ways(socket), ["shared false", "data hello"])
      }
    }))

  it("is for sockets that are open", () => {
    const duplex = new Duplex({ read: () => {}, write: (_chunk, _encoding, done) => done() })
    assert.isFalse(readIntoSharedBuffer(duplex, () => true))
    assert.isFalse(readIntoSharedBuffer(new Net.Socket(), () => true))
  })
})
