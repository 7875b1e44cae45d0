import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import * as Http from "node:http"
import { HostServer, prepareServer } from "../../../src/internal/node/hostServer.ts"
import type { AddressInfo } from "node:net"
import { rawConnect, requestText } from "../../support/net.ts"

/** Starts a server, which closes with the Scope. */
const listen = (server: Http.Server) =>
  Effect.acquireRelease(
    Effect.callback<number>((resume) => {
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed((server.address() as AddressInfo).port)))
    }),
    () =>
      Effect.callback<void>((resume) => {
        if (server.listening) server.close(() => resume(Effect.void))
        else resume(Effect.void)
      })
  )

describe("HostServer", () => {
  it("exists once for each server", () => {
    const server = Http.createServer()
    assert.strictEqual(HostServer.of(server), HostServer.of(server))
    assert.notStrictEqual(HostServer.of(server), HostServer.of(Http.createServer()))
  })

  it("limiterFor returns one limiter for each route of a router, and one without a router", () => {
    const host = HostServer.of(Http.createServer())
    const one = {}
    assert.strictEqual(host.limiterFor(one), host.limiterFor(one))
    assert.notStrictEqual(host.limiterFor(one), host.limiterFor({}))
    assert.strictEqual(host.limiterFor(), host.limiterFor())
    assert.notStrictEqual(host.limiterFor(), host.limiterFor(one))
  })

  it.live("runs its shutdown hooks when the server closes, and delays the callback of close until they have ended", () =>
    Effect.gen(function*() {
      const server = Http.createServer()
      yield* listen(server)
      const events: Array<string> = []
      const { shutdownHooks } = HostServer.of(server)
      shutdownHooks.add(Effect.andThen(Effect.sleep(1), Effect.sync(() => events.push("stopped"))))
      yield* Effect.callback<void>((resume) => {
        server.close(() => {
          events.push("closed")
          resume(Effect.void)
        })
      })
      assert.deepStrictEqual(events, ["stopped", "closed"])
    }))
})

describe("prepareServer", () => {
  it.live("rejects upgrades with 503 without another listener, once even if it is called twice", () =>
    Effect.gen(function*() {
      const server = prepareServer(prepareServer(Http.createServer()))
      assert.strictEqual(server.listenerCount("upgrade"), 1)
      const peer = yield* rawConnect(yield* listen(server))
      peer.write(requestText())
      assert.strictEqual((yield* peer.ended).toString().match(/HTTP\/1\.1 503 /g)?.length, 1)
    }))

  it.live("keeps the bytes after the head of a request, and destroys the ended socket of a client that has left", () =>
    Effect.gen(function*() {
      const server = prepareServer(Http.createServer())
      const heads: Array<string> = []
      const closed = Effect.callback<void>((resume) => {
        server.on("upgrade", (message, socket) => {
          heads.push(Buffer.from(HostServer.of(server).headOf(message)).toString())
          socket.on("close", () => resume(Effect.void))
          socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        })
      })
      const waiting = yield* Effect.forkChild(closed, { startImmediately: true })
      const peer = yield* rawConnect(yield* listen(server))
      peer.write(requestText() + "early")
      yield* peer.until((received) => received.includes("403"))
      peer.socket.end("more")
      yield* Fiber.join(waiting)
      assert.deepStrictEqual(heads, ["early"])
    }))
})
