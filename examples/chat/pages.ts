/** The files of the pages: those of the chat, and those of the notebook. */
import { Effect } from "effect"
import { readFile } from "node:fs/promises"
import type { RequestListener } from "node:http"

const sources = new URL("../../../examples/", import.meta.url)
const built = new URL("../", import.meta.url)

const headers = {
  "Content-Security-Policy":
    "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Cache-Control": "no-cache"
}

const file = (name: string, type: string, folder = sources) =>
  Effect.map(Effect.promise(() => readFile(new URL(name, folder))), (body) => ({
    body,
    headers: { "Content-Type": `${type}; charset=utf-8`, "Content-Length": body.length }
  }))

const chat = Effect.gen(function*() {
  const index = yield* file("chat/public/index.html", "text/html")
  return [
    ["/", index],
    ["/index.html", index],
    ["/style.css", yield* file("chat/public/style.css", "text/css")],
    ["/page.js", yield* file("chat/page.bundle.js", "text/javascript", built)]
  ] as const
})

const notebook = Effect.gen(function*() {
  return [
    ["/browser/", yield* file("browser/public/index.html", "text/html")],
    ["/browser/style.css", yield* file("browser/public/style.css", "text/css")],
    ["/browser/page.js", yield* file("browser/page.bundle.js", "text/javascript", built)]
  ] as const
})

/** Responds with the files of the pages, read once, and nothing else. */
export const pages = Effect.fnUntraced(function*({ hasNotebook }: { readonly hasNotebook: boolean }) {
  const files = new Map<string, Effect.Success<ReturnType<typeof file>>>([
    ...yield* chat,
    ...hasNotebook ? yield* notebook : []
  ])
  const onRequest: RequestListener = ({ method, url = "" }, response) => {
    const found = files.get(url.replace(/\?.*/, ""))
    if (found === undefined) response.writeHead(404, headers).end()
    else if (method !== "GET" && method !== "HEAD") response.writeHead(405, { ...headers, Allow: "GET, HEAD" }).end()
    else response.writeHead(200, { ...headers, ...found.headers }).end(found.body)
  }
  return onRequest
})
