/** Reverse proxies in front of our server, and our client through them. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, type Scope } from "effect"
import {
  Connection,
  type ConnectionError,
  Handshake,
  type HandshakeError,
  PerMessageDeflate,
  WebSocketClient,
  type WebSocketServer
} from "effect-ws"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { contentOf, type Shape } from "../support/memory.ts"
import { serve } from "../support/net.ts"
import { type PeerName, withPeer } from "../support/peers.ts"
import { listening } from "../support/port.ts"
import { type Program, runProgram } from "../support/process.ts"
import { obey } from "../support/obey.ts"
import { interop, makeEnds } from "./exchanges.ts"

interface Setup {
  /** Where it is to listen, and what it is in front of. */
  readonly port: number
  readonly upstream: number
  /** After how many seconds without a byte it is to give up. */
  readonly idle: number
  /** A directory for its files. */
  readonly directory: string
}

interface Proxy {
  readonly config: (setup: Setup) => string
  readonly command: (file: string, directory: string) => readonly [string, ...ReadonlyArray<string>]
  /** How it ends idle connections, as the two sides see it; undefined if it does not. */
  readonly whenIdle: undefined | {
    readonly client: ConnectionError.ClosedCause["_tag"]
    readonly server: ConnectionError.ClosedCause["_tag"]
  }
  /** With which code the two sides see it stop. */
  readonly whenStopped: ReadonlyArray<number>
  /** What the proxy answers without a server behind it. */
  readonly nobodyThere: number
  /** Options of the server behind it. Default none. */
  readonly server?: WebSocketServer.MakeOptions
}

const guide = readFileSync(new URL("../../docs/deploying.md", import.meta.url), "utf8")

/** The configuration that the guide has for a proxy, and what it says instead of its ports and its timeout for silence. */
const documented = (language: string, replacements: ReadonlyArray<readonly [string, string]>) => {
  const [, block] = new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\``, "m").exec(guide)!
  return replacements.reduce((config, [from, to]) => {
    assert.strictEqual(config.split(from).length, 2, `${from} in the configuration of ${language}`)
    return config.replace(from, to)
  }, block)
}

const upstreamOf = ({ upstream }: Setup) => ["127.0.0.1:8080", `127.0.0.1:${upstream}`] as const

const nginx: Proxy = {
  command: (file, directory) => ["nginx", "-p", directory, "-e", "stderr", "-c", file],
  whenIdle: { client: "UnexpectedEof", server: "UnexpectedEof" },
  whenStopped: [1006],
  nobodyThere: 502,
  config: (setup) => `
daemon off;
master_process off;
pid ${setup.directory}/pid;
events {}
http {
  access_log off;
  client_body_temp_path ${setup.directory}/body;
  proxy_temp_path ${setup.directory}/proxy;
  fastcgi_temp_path ${setup.directory}/fastcgi;
  uwsgi_temp_path ${setup.directory}/uwsgi;
  scgi_temp_path ${setup.directory}/scgi;
  ${
    documented("nginx", [
      upstreamOf(setup),
      ["listen 80;", `listen 127.0.0.1:${setup.port};`],
      ["proxy_read_timeout 60s", `proxy_read_timeout ${setup.idle}s`]
    ])
  }
}
`
}

const haproxy: Proxy = {
  command: (file) => ["haproxy", "-db", "-f", file],
  // It resets connections to servers that it gives up, so that they leave nothing behind.
  whenIdle: { client: "UnexpectedEof", server: "TransportError" },
  whenStopped: [1006],
  nobodyThere: 503,
  config: (setup) =>
    documented("haproxy", [
      upstreamOf(setup),
      ["bind :80", `bind 127.0.0.1:${setup.port}`],
      ["timeout tunnel 60s", `timeout tunnel ${setup.idle}s`]
    ])
}

/** HTTP/1.1 with clients, HTTP/2 with the server. */
const haproxyHttp2: Proxy = {
  ...haproxy,
  server: { cleartextHttp2: true },
  config: (setup) => haproxy.config(setup).replace(/^(\s*server .*)$/m, "$1 proto h2 ws h2")
}

const caddy: Proxy = {
  command: (file) => ["caddy", "run", "--config", file, "--adapter", "caddyfile"],
  whenIdle: undefined,
  // It sends both sides a close frame with 1001. The one to the server is without a mask, which no server may take: it
  // answers 1002. What each side sees first is a matter of luck.
  whenStopped: [1001, 1002],
  nobodyThere: 502,
  config: (setup) => `
{
  admin off
  auto_https off
}
${documented("caddyfile", [upstreamOf(setup), ["http://:80 {", `http://:${setup.port} {\n  bind 127.0.0.1`]])}
`
}

/** Starts a proxy in front of a port. */
const startProxy = (
  proxy: Proxy,
  upstream: number,
  idle = 60
): Effect.Effect<Program & { readonly port: number }, never, Scope.Scope> =>
  Effect.gen(function*() {
    const directory = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-ws-proxy-"))),
      (made) => Effect.sync(() => rmSync(made, { recursive: true, force: true }))
    )
    const file = join(directory, "config")
    const [command, ...args] = proxy.command(file, directory)
    return yield* listening((port) => {
      writeFileSync(file, proxy.config({ port, upstream, idle, directory }))
      return runProgram(command, args, { HOME: directory })
    })
  })

/** Our own, at the other side of a proxy. */
const startBehind = (proxy: Proxy) =>
  Effect.gen(function*() {
    const { ended, report } = makeEnds()
    const follow = (connection: Shape) =>
      Effect.andThen(
        Effect.ignore(obey(connection)),
        Effect.map(connection.closed, ({ code, reason }) => report(connection.request.path, code, reason))
      )
    const server = yield* serve(Effect.flatMap(Connection.Connection, follow), {
      ...proxy.server,
      serve: { protocols: ["v3", "v2"], extensions: [PerMessageDeflate.make()] }
    })
    const front = yield* startProxy(proxy, server.port)
    return {
      url: `ws://127.0.0.1:${front.port}`,
      connect: (url: string, protocols: ReadonlyArray<string>) =>
        Effect.gen(function*() {
          const through = new URL(url)
          through.port = String((yield* startProxy(proxy, Number(through.port))).port)
          yield* Effect.forkScoped(
            follow(yield* WebSocketClient.connect(through, { protocols, extensions: [PerMessageDeflate.make()] }))
          )
        }),
      ended
    }
  })

/** A client and a server that are connected through a proxy. */
const through = (
  proxy: Proxy,
  options: {
    readonly idle?: number
    readonly client?: Connection.Options
    readonly server?: Connection.Options
  }
) =>
  Effect.gen(function*() {
    const accepted = yield* Deferred.make<Shape>()
    const handler = Effect.flatMap(
      Connection.Connection,
      (connection) => Effect.andThen(Deferred.succeed(accepted, connection), connection.closed)
    )
    const server = yield* serve(handler, { ...proxy.server, serve: { keepalive: false, ...options.server } })
    const front = yield* startProxy(proxy, server.port, options.idle)
    const client = yield* WebSocketClient.connect(`ws://127.0.0.1:${front.port}/path?query=1`, {
      keepalive: false,
      ...options.client
    })
    return { client, server: yield* Deferred.await(accepted), front }
  })

const endOf = ({ cause, code, received }: ConnectionError.ConnectionClosed) => [code, received, cause?._tag]

const behind = (peer: PeerName, proxy: Proxy) =>
  withPeer(peer, (named) => {
    interop({ title: `${named} between client and server`, roles: ["client", "server"], start: startBehind(proxy) })

    describe(named, () => {
      it.live("forwards the address and the host of the client", () =>
        Effect.gen(function*() {
          const { front, server } = yield* through(proxy, {})
          const { headers, path, query } = server.request
          assert.deepStrictEqual([path, query.get("query")], ["/path", "1"])
          assert.deepStrictEqual(
            ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"].map((header) => headers[header]),
            ["127.0.0.1", "http", `127.0.0.1:${front.port}`]
          )
        }))

      it.live("accepts pages of its own origin, and no others", () =>
        Effect.gen(function*() {
          const server = yield* serve(Effect.void)
          const { port } = yield* startProxy(proxy, server.port)
          const from = (origin: string) =>
            WebSocketClient.connect(`ws://127.0.0.1:${port}`, { headers: { Origin: origin } })
          yield* from(`http://127.0.0.1:${port}`)
          const error = yield* Effect.flip(from(`http://127.0.0.1:${server.port}`))
          assert.strictEqual((error as HandshakeError.HandshakeRejected).status, 403)
        }))

      it.live("forwards a rejection", () =>
        Effect.gen(function*() {
          const server = yield* serve(Effect.void, {
            serve: { decide: () => Effect.succeed(Handshake.reject({ status: 403, body: "not you" })) }
          })
          const front = yield* startProxy(proxy, server.port)
          const error = yield* Effect.flip(WebSocketClient.connect(`ws://127.0.0.1:${front.port}`))
          assert.deepInclude(error as HandshakeError.HandshakeRejected, { status: 403, body: "not you" })
        }))

      it.live("rejects if no server listens", () =>
        Effect.gen(function*() {
          const port = yield* Effect.scoped(Effect.map(serve(Effect.void), (server) => server.port))
          const front = yield* startProxy(proxy, port)
          const error = yield* Effect.flip(WebSocketClient.connect(`ws://127.0.0.1:${front.port}`))
          assert.deepInclude(error as HandshakeError.HandshakeRejected, { status: proxy.nobodyThere })
        }))

      it.live("ends both connections when it is killed", () =>
        Effect.gen(function*() {
          const { client, front, server } = yield* through(proxy, {})
          front.child.kill("SIGKILL")
          assert.deepStrictEqual(endOf(yield* client.closed), [1006, undefined, "UnexpectedEof"])
          assert.deepStrictEqual(endOf(yield* server.closed), [1006, undefined, "UnexpectedEof"])
        }))

      it.live("ends both connections when it is stopped", () =>
        Effect.gen(function*() {
          const { client, front, server } = yield* through(proxy, {})
          front.child.kill("SIGTERM")
          assert.include(proxy.whenStopped, (yield* client.closed).code)
          assert.include(proxy.whenStopped, (yield* server.closed).code)
        }))

      for (const side of ["client", "server"] as const) {
        const title = `ends a silent connection, but not one with the keepalive of the ${side}`
        const { whenIdle } = proxy
        if (whenIdle === undefined) {
          it.skip(`${title}: not run, this version has no such timeout`)
          continue
        }
        it.live(title, () =>
          Effect.gen(function*() {
            // The kept one is older: when the silent one is cut, it has lasted longer than the timeout.
            const kept = yield* through(proxy, { idle: 2, [side]: { keepalive: { interval: "100 millis" } } })
            const silent = yield* through(proxy, { idle: 2 })
            assert.deepStrictEqual(endOf(yield* silent.client.closed), [1006, undefined, whenIdle.client])
            assert.deepStrictEqual(endOf(yield* silent.server.closed), [1006, undefined, whenIdle.server])
            yield* kept.client.send("still there")
            assert.strictEqual(contentOf(yield* kept.server.receive), "still there")
          }))
      }
    })
  })

behind("nginx", nginx)
behind("HAProxy", haproxy)
behind("Caddy", caddy)

withPeer("HAProxy", (named) => {
  const title = `${named} between client and server, over HTTP/2 to the server`
  interop({
    title,
    roles: ["client", "server"],
    start: Effect.map(startBehind(haproxyHttp2), (running) => ({ ...running, http2: "cleartext" as const }))
  })

  describe(title, () => {
    it.live("opens connections of several clients as streams of HTTP/2", () =>
      Effect.gen(function*() {
        for (let i = 0; i < 3; i++) {
          const { client, server } = yield* through(haproxyHttp2, {})
          assert.deepStrictEqual([client.request.httpVersion, server.request.httpVersion], ["1.1", "2"])
          yield* client.close(4000, "enough")
          const { cause, clean, code } = yield* server.closed
          assert.deepStrictEqual([code, clean, cause], [4000, true, undefined])
        }
      }))
  })
})
