import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Function, Layer, Stream } from "effect"
import { HttpClient, HttpClientRequest } from "effect/http"
import { ConnectionError } from "effect-ws"
import * as Testing from "effect-ws/Testing"
import type { IncomingMessage, ServerResponse } from "node:http"
import { layerMemoryHttpClient } from "../../../src/internal/node/memoryFetch.ts"
import { MemoryServer } from "../../../src/internal/node/memoryServer.ts"
import { transportDuplex } from "../../../src/internal/node/transportDuplex.ts"

const withServer = <A, E>(
  respond: (request: IncomingMessage, response: ServerResponse, link: Testing.Link) => void,
  program: Effect.Effect<A, E, HttpClient.HttpClient>
) =>
  Effect.provide(
    program,
    Layer.unwrap(Effect.sync(() => {
      const server = new MemoryServer().listen()
      return layerMemoryHttpClient(() =>
        Effect.map(Testing.makeLink(), (link) => {
          server.once(
            "request",
            (request: IncomingMessage, response: ServerResponse) => respond(request, response, link)
          )
          server.accept(transportDuplex(link.server))
          return transportDuplex(link.client)
        })
      )
    }))
  )

describe("layerMemoryHttpClient", () => {
  it.effect("sends method, path, query and headers", () =>
    Effect.gen(function*() {
      const seen = yield* withServer(
        ({ headers, method, url }, response) => response.end([method, url, headers.host, headers["x-a"]].join(" ")),
        HttpClient.del("http://anywhere:81/a/b?c=d", { headers: { "X-A": "1" } }).pipe(
          Effect.flatMap(({ text }) => text)
        )
      )
      assert.strictEqual(seen, "DELETE /a/b?c=d anywhere:81 1")
    }))

  it.effect("frames the body of any method", () =>
    Effect.gen(function*() {
      const request = HttpClientRequest.bodyText(HttpClientRequest.delete("http://anywhere/"), "all of it")
      const echoed = yield* withServer(
        (incoming, response) => incoming.pipe(response),
        HttpClient.execute(request).pipe(Effect.flatMap(({ text }) => text))
      )
      assert.strictEqual(echoed, "all of it")
    }))

  it.effect("returns responses that have no body", () =>
    Effect.gen(function*() {
      const statuses = yield* withServer(
        ({ url }, response) => response.writeHead(Number(url!.slice(1))).end(),
        Effect.forEach([200, 204, 205, 304], (status) =>
          HttpClient.get(`http://anywhere/${status}`).pipe(
            Effect.flatMap((response) => Effect.map(response.text, (body) => [response.status, body]))
          ))
      )
      assert.deepStrictEqual(statuses, [[200, ""], [204, ""], [205, ""], [304, ""]])
    }))

  it.effect("keeps several headers of one name apart", () =>
    Effect.gen(function*() {
      const cookies = yield* withServer(
        (_, response) => response.writeHead(200, { "Set-Cookie": ["a=1", "b=2"] }).end(),
        HttpClient.get("http://anywhere/")
      )
      assert.deepStrictEqual(Object.keys(cookies.cookies.cookies), ["a", "b"])
    }))

  it.effect("fails when the network resets the request", () =>
    Effect.gen(function*() {
      const error = yield* withServer(
        (_request, _response, link) => void Effect.runSync(link.reset),
        Effect.flip(HttpClient.get("http://anywhere/"))
      )
      assert.deepInclude(error.reason, { _tag: "TransportError" })
    }))

  it.effect("fails when the body of the request fails", () =>
    Effect.gen(function*() {
      const failing = Stream.concat(Stream.make(new Uint8Array(1)), Stream.fail(new Error("no more")))
      const request = HttpClientRequest.bodyStream(HttpClientRequest.post("http://anywhere/"), failing)
      const error = yield* withServer(
        (incoming) => void incoming.resume().on("error", Function.constVoid),
        Effect.flip(HttpClient.execute(request))
      )
      assert.deepInclude(error.reason, { _tag: "TransportError" })
    }))

  it.effect("fails when no stream can be opened", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(HttpClient.get("http://anywhere/")).pipe(
        Effect.provide(layerMemoryHttpClient(() => Effect.fail(new ConnectionError.UnexpectedEof())))
      )
      assert.deepInclude(error.reason, { _tag: "TransportError" })
    }))

  it.effect("ends the stream of an interrupted request", () =>
    Effect.gen(function*() {
      let onRequest: (request: IncomingMessage) => void = Function.constVoid
      const requested = new Promise<IncomingMessage>((resolve) => onRequest = resolve)
      yield* withServer(
        (request) => onRequest(request),
        Effect.gen(function*() {
          const requesting = yield* Effect.forkChild(HttpClient.get("http://anywhere/"))
          const { socket } = yield* Effect.promise(() => requested)
          const closed = Effect.promise(() => new Promise<void>((resolve) => socket.once("close", () => resolve())))
          const closing = yield* Effect.forkChild(closed, { startImmediately: true })
          yield* Fiber.interrupt(requesting)
          yield* Fiber.join(closing)
        })
      )
    }))
})
