import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Result } from "effect"
import { TestClock } from "effect/testing"
import { Handshake } from "effect-ws"
import * as Http from "node:http"
import type * as Net from "node:net"
import { Http1RequestHead, Http1Upgrade } from "../../../src/internal/node/http1Upgrade.ts"
import { Timers } from "../../../src/internal/runtime/timers.ts"
import { rejection } from "../../../src/internal/server/responses.ts"
import { rawSocket, sampleKey, socketPair } from "../../support/net.ts"
import { eventually } from "../../support/resources.ts"

const headers = ["Host", "localhost", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Key", sampleKey]

const messageOn = (socket: Net.Socket, rawHeaders: Array<string> = headers) =>
  Object.assign(new Http.IncomingMessage(socket), {
    method: "GET",
    url: "/chat?a=1",
    httpVersion: "1.1",
    rawHeaders: [...rawHeaders, "Sec-WebSocket-Version", "13"]
  })

/** An upgrade request on a TCP socket, and its client. */
const makeUpgrade = (head = "", rawHeaders?: Array<string>) =>
  Effect.map(socketPair, ([client, socket]) => ({
    client: rawSocket(client),
    socket,
    upgrade: new Http1Upgrade(messageOn(socket, rawHeaders), socket, Buffer.from(head))
  }))

const accept = (upgrade: Http1Upgrade) => {
  const request = Result.getOrThrow(Handshake.readRequest(upgrade.head))
  return upgrade.accept(request, Result.getOrThrow(Handshake.acceptResponse(request)))
}

/** Starts a transport, and returns what it delivers. */
const delivered = (upgrade: Http1Upgrade) => {
  const received: Array<string> = []
  const ignore = () => {}
  accept(upgrade).start({
    onData: (chunk) => void received.push(Buffer.from(chunk).toString()),
    onDrain: ignore,
    onEnd: ignore,
    onClose: ignore
  })
  return () => received.join("")
}

const timers = Effect.map(Effect.context<never>(), Timers.of)

describe("Http1RequestHead", () => {
  it.effect("holds the head of a request as data", () =>
    Effect.gen(function*() {
      const [, socket] = yield* socketPair
      const head = new Http1RequestHead(messageOn(socket))
      assert.deepInclude(head, {
        method: "GET",
        target: "/chat?a=1",
        httpVersion: "1.1",
        secure: false,
        remoteAddress: "127.0.0.1",
        isTruncated: false
      })
      assert.deepStrictEqual(head.rawHeaders[0], ["Host", "localhost"])
    }))

  it.effect("counts as truncated from 1,000 header lines on, the number that Node keeps", () =>
    Effect.gen(function*() {
      const [, socket] = yield* socketPair
      const lines = (count: number) => Array.from({ length: count - 1 }, () => ["X", "1"]).flat()
      assert.isFalse(new Http1RequestHead(messageOn(socket, lines(999))).isTruncated)
      assert.isTrue(new Http1RequestHead(messageOn(socket, lines(1000))).isTruncated)
    }))
})

describe("Http1Upgrade", () => {
  it.live("delivers bytes read with the head, then bytes read during the decision, then later bytes", () =>
    Effect.gen(function*() {
      const { client, socket, upgrade } = yield* makeUpgrade("one ")
      const stop = upgrade.watchClient(() => assert.fail("the client has not left"))
      client.write("two ")
      yield* eventually(() => socket.bytesRead === 4)
      stop()
      const received = delivered(upgrade)
      client.write("three")
      yield* eventually(() => received() === "one two three")
      yield* client.until((bytes) => bytes.toString().startsWith("HTTP/1.1 101 Switching Protocols\r\n"))
    }))

  it.live("sends 100 before 101 if the request expects it", () =>
    Effect.gen(function*() {
      const { client, upgrade } = yield* makeUpgrade("", [...headers, "Expect", "100-continue"])
      accept(upgrade)
      yield* client.until((bytes) => bytes.toString().startsWith("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 "))
    }))

  it.live("reports a client that leaves while it is watched", () =>
    Effect.gen(function*() {
      for (const leave of ["end", "resetAndDestroy"] as const) {
        const { client, upgrade } = yield* makeUpgrade()
        let left = 0
        upgrade.watchClient(() => left++)
        client.socket[leave]()
        yield* eventually(() => left === 1)
        assert.isTrue(upgrade.hasClientLeft)
      }
    }))

  it.effect("writes a rejection, and destroys the socket of a client that does not end its side", () =>
    Effect.gen(function*() {
      const { client, socket, upgrade } = yield* makeUpgrade()
      let closed = 0
      upgrade.onClose(() => closed++)
      upgrade.reject(rejection(403, "no"), yield* timers, 1000)
      yield* client.until((bytes) => bytes.toString().endsWith("\r\n\r\nno"))
      assert.isFalse(socket.destroyed)
      yield* TestClock.adjust("2 seconds")
      yield* eventually(() => socket.destroyed && closed === 1)
      upgrade.onClose(() => closed++)
      assert.strictEqual(closed, 2)
    }))

  it.live("closes the socket right after a 503", () =>
    Effect.gen(function*() {
      const { client, socket, upgrade } = yield* makeUpgrade()
      upgrade.rejectUnavailable(yield* timers, 1000)
      assert.match((yield* client.ended).toString(), /^HTTP\/1\.1 503 Service Unavailable\r\n/)
      yield* eventually(() => socket.destroyed)
    }))

  it.live("completes flushed once this side has ended, or the socket is closed", () =>
    Effect.gen(function*() {
      const ending = yield* makeUpgrade()
      const flushed = yield* Effect.forkChild(ending.upgrade.flushed, { startImmediately: true })
      assert.isUndefined(flushed.pollUnsafe())
      ending.socket.end("bye")
      yield* Fiber.join(flushed)
      const destroyed = yield* makeUpgrade()
      destroyed.upgrade.destroy()
      yield* destroyed.upgrade.flushed
    }))
})
