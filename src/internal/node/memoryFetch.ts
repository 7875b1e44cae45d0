/** An `HttpClient` over streams that a program opens, with Node's HTTP client. */
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import type * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import type * as Http from "node:http"
import type { Duplex } from "node:stream"
import type { ReadableStream } from "node:stream/web"
import * as builtins from "../runtime/builtins.ts"
import { toHeaderPairs } from "./httpMessage.ts"

/** Responses with these statuses have no body (Fetch Standard, "null body status"). Node reports 101 and 103 otherwise. */
const nullBodyStatuses = new Set([204, 205, 304])

/** Opens a stream to the server of a URL. */
type Open = (url: URL) => Effect.Effect<Duplex, Error>

/** Provides a client that opens a stream for each request. It does not follow redirects. */
export const layerMemoryHttpClient = (open: Open): Layer.Layer<HttpClient.HttpClient> => {
  const fetch = Effect.map(
    Effect.context<never>(),
    (context) => makeFetch((url, signal) => Effect.runPromiseWith(context)(open(url), { signal }))
  )
  // The program may use the layer of the platform's `fetch` as well.
  return Layer.fresh(FetchHttpClient.layer).pipe(Layer.provide(Layer.effect(FetchHttpClient.Fetch)(fetch)))
}

const makeFetch =
  (open: (url: URL, signal: AbortSignal) => Promise<Duplex>): typeof globalThis.fetch => async (input, init) => {
    const request = new Request(input, init)
    const { body, method, signal } = request
    const url = new URL(request.url)
    const socket = await open(url, signal)
    const http = builtins.http().request({
      createConnection: () => socket,
      method,
      path: `${url.pathname}${url.search}`,
      headers: headersOf(request, url),
      signal
    })
    const response = new Promise<Response>((resolve, reject) => {
      http.on("error", reject)
      http.once("response", (message) => resolve(toResponse(message)))
    })
    if (body === null) http.end()
    else {builtins.stream().Readable.fromWeb(body as ReadableStream).on("error", (error) => http.destroy(error)).pipe(
        http
      )}
    return response
  }

const headersOf = ({ body, headers }: Request, { host }: URL): ReadonlyArray<string> => [
  "Host",
  host,
  "Connection",
  "close",
  ...body === null ? [] : ["Transfer-Encoding", "chunked"],
  ...Array.from(headers).flat()
]

const toResponse = (message: Http.IncomingMessage): Response => {
  const { rawHeaders, statusCode: status = 0, statusMessage: statusText = "" } = message
  const init = {
    status,
    statusText,
    headers: toHeaderPairs(rawHeaders).map(([name, value]): [string, string] => [name, value])
  }
  if (!nullBodyStatuses.has(status)) {
    return new Response(builtins.stream().Readable.toWeb(message) as ReadableStream<Uint8Array>, init)
  }
  message.resume()
  return new Response(null, init)
}
