import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Http2 from "node:http2"
import * as Net from "node:net"
import { Http2Sessions } from "../../../src/internal/node/http2Sessions.ts"
import { Timers } from "../../../src/internal/runtime/timers.ts"
import { eventually, memoryInUse } from "../../support/resources.ts"

/** Sessions on the sockets of a server, and a client of it. */
const makeSessions = Effect.gen(function*() {
  const sessions = new Http2Sessions({ maxIdle: 10 }, Timers.of(yield* Effect.context<never>()), () => {})
  const refs: Array<WeakRef<Net.Socket>> = []
  const server = Net.createServer((socket) => {
    refs.push(new WeakRef(socket))
    sessions.accept(socket)
  })
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
    () => Effect.sync(() => server.close())
  )
  const connect = Effect.gen(function*() {
    const client = Http2.connect(`http://127.0.0.1:${(server.address() as Net.AddressInfo).port}`)
    yield* Effect.callback<void>((resume) => void client.once("remoteSettings", () => resume(Effect.void)))
    return client
  })
  return { connect, refs, sessions }
})

describe("Http2Sessions", () => {
  it.live("keeps nothing of a session that the client has ended", () =>
    Effect.gen(function*() {
      const { connect, refs, sessions } = yield* makeSessions
      const client = yield* connect
      client.close()
      yield* eventually(() => client.destroyed && refs[0].deref()?.destroyed !== false)
      for (let i = 0; i < 50 && refs[0].deref() !== undefined; i++) yield* memoryInUse
      assert.isUndefined(refs[0].deref())
      sessions.stop()
    }))

  it.live("ends all sessions when it stops", () =>
    Effect.gen(function*() {
      const { connect, refs, sessions } = yield* makeSessions
      const clients = yield* Effect.all([connect, connect])
      sessions.stop()
      yield* eventually(() => clients.every(({ destroyed }) => destroyed))
      yield* eventually(() => refs.every((ref) => ref.deref()?.destroyed !== false))
    }))
})
