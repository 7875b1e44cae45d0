/**
 * The exchanges with each peer, in both roles: one table.
 *
 * A peer echoes messages, and obeys a text that begins with "please":
 *
 * ```text
 * please close                 closes without a code
 * please close 4000 a reason   closes with a code and a reason
 * please ping data             pings, and sends "pong data" after the pong
 * please fragments a b c       sends a message in three fragments
 * please subprotocol           sends the negotiated subprotocol
 * ```
 *
 * It offers and accepts permessage-deflate if it can, and our side decides whether to use it. Exchanges with
 * `deflated` run again with it.
 *
 * When a connection has ended, the peer reports the code and the reason that it saw, outside of the connection.
 * Connections have names: the paths of their URLs.
 */
import { assert, describe, layer } from "@effect/vitest"
import { Context, Deferred, type Duration, Effect, Layer, type Scope, Stream } from "effect"
import {
  CloseCode,
  Connection,
  type ConnectionError,
  type Extension,
  Frame,
  PerMessageDeflate,
  WebSocketClient
} from "effect-ws"
import { tls } from "../support/certificates.ts"
import { contentOf, type Shape } from "../support/memory.ts"
import { type Cut, relay, serve } from "../support/net.ts"

// -----------------------------------------------------------------------------
// Peers
// -----------------------------------------------------------------------------

/** How a peer saw a connection end. */
export interface Ended {
  /** Undefined where it does not tell 1005, a close frame without a code, from 1006, none. */
  readonly code: number | undefined
  readonly reason: string
}

/** A peer that runs. */
export interface Running {
  /** The URL of its server, without a path. */
  readonly url?: string
  /** How our client connects to its server. */
  readonly options?: WebSocketClient.ConnectOptions
  /** Has its client connect. */
  readonly connect?: (url: string, protocols: ReadonlyArray<string>) => Effect.Effect<void, unknown, Scope.Scope>
  /** Whether its client connects over HTTP/2, with or without TLS. Default: over HTTP/1.1. */
  readonly http2?: "tls" | "cleartext" | undefined
  /** How long our server waits for the end of the transport, if its client leaves that open after the close frames. */
  readonly closeTimeout?: Duration.Input | undefined
  /** Waits for the end of the connection with the given path. */
  readonly ended: (path: string) => Effect.Effect<Ended>
}

/** What not every peer can do. */
export type Ability =
  | "obey"
  | "report"
  | "subprotocol"
  | "binary"
  | "long messages"
  | "join fragments"
  | "fragments"
  | "ping"
  | "close without a code"
  | "close with a code of the protocol"
  | "permessage-deflate"
  | "compress"
  | "pings among compressed fragments"
  | "forget the context"

export interface Peer {
  /** Its name, and its version. */
  readonly title: string
  readonly roles: ReadonlyArray<"client" | "server">
  readonly start: Effect.Effect<Running, unknown, Scope.Scope>
  /** The subprotocols that it is offered, or offers. Default: none. */
  readonly protocols?: ReadonlyArray<string>
  /** What it cannot do, and why; in one of its roles, or in both. */
  readonly cannot?: Cannot & { readonly client?: Cannot; readonly server?: Cannot }
}

type Cannot = { readonly [A in Ability]?: string }

/** Keeps how connections ended, for a peer in this process. */
export const makeEnds = (): {
  readonly report: (path: string, code: number, reason: string) => void
  readonly ended: Running["ended"]
} => {
  const ends = new Map<string, Deferred.Deferred<Ended>>()
  const endOf = (path: string) => {
    const known = ends.get(path) ?? Deferred.makeUnsafe<Ended>()
    ends.set(path, known)
    return known
  }
  return {
    report: (path, code, reason) => Deferred.doneUnsafe(endOf(path), Effect.succeed({ code, reason })),
    ended: (path) => Effect.suspend(() => Deferred.await(endOf(path)))
  }
}

// -----------------------------------------------------------------------------
// The table
// -----------------------------------------------------------------------------

interface Exchange {
  readonly name: string
  readonly needs?: ReadonlyArray<Ability>
  /** The subprotocols that the client offers. The server speaks v3 and v2. */
  readonly protocols?: ReadonlyArray<string>
  /** Who compresses something in it, where permessage-deflate was agreed on. Default: it is not had with it. */
  readonly deflated?: "both" | "us" | "them"
  /** What it needs beside `needs` then. */
  readonly deflatedNeeds?: ReadonlyArray<Ability>
  readonly run: (ours: Shape, theirs: Theirs) => Effect.Effect<void, unknown>
}

interface Theirs {
  /** Waits until the peer has seen the end, and checks how, where the peer can say. */
  readonly sawEnd: (code: number, reason: string) => Effect.Effect<void>
  /** Cuts the network between the two. */
  readonly cut: (how: Cut) => Effect.Effect<void>
}

const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => i % 251)

/** Texts of which each is much like the last. */
const alike = Array.from(
  { length: 40 },
  (_, i) =>
    i % 8 === 7 ? "" : JSON.stringify({ order: i, items: Array.from({ length: 120 }, (_item, n) => `item ${n} €`) })
)

const longText = "añ€😀".repeat(105_000)

/** Messages that come back as they were sent. */
const echoes = (
  name: string,
  messages: ReadonlyArray<string | Uint8Array>,
  ...needs: ReadonlyArray<Ability>
): Exchange => ({
  name,
  needs,
  run: (ours) =>
    Effect.gen(function*() {
      for (const message of messages) {
        yield* ours.send(message)
        const back = yield* ours.receive
        assert.strictEqual(back._tag, typeof message === "string" ? "Text" : "Binary")
        // Not deepStrictEqual, which takes its time over a megabyte.
        assert.isTrue(Buffer.from(back.bytes).equals(Buffer.from(message)), `${message.length} came back changed`)
      }
    })
})

/** Fragments that are longer together than what is compressed at once, and others; something is done before each. */
const longFragments = (
  name: string,
  before: (ours: Shape) => Effect.Effect<unknown, unknown>
): Exchange => ({
  name,
  needs: ["join fragments", "long messages"],
  deflated: "us",
  run: (ours) =>
    Effect.gen(function*() {
      const parts = [longText.slice(0, 100_000), "", longText.slice(100_000, 100_003), "x".repeat(1000)]
      for (let i = 0; i < 3; i++) {
        yield* ours.sendFragments(Stream.tap(Stream.fromIterable(parts), () => before(ours)))
        assert.strictEqual(contentOf(yield* ours.receive), parts.join(""))
      }
    })
})

const longestReason = "€".repeat(41)

const closes = (code: number | undefined, reason: string): ReadonlyArray<Exchange> => {
  const shown = code ?? CloseCode.NoStatusReceived
  const name = `${code ?? "no code"}${
    reason === "" ? "" : ` ${reason === longestReason ? "and a long reason" : reason}`
  }`
  const clean = (closed: Effect.Effect<ConnectionError.ConnectionClosed>) =>
    Effect.map(closed, (ended) => {
      assert.deepStrictEqual([ended.code, ended.reason, ended.clean, ended.cause], [shown, reason, true, undefined])
      return ended
    })
  return [
    {
      name: `closed by us with ${name}`,
      run: (ours, theirs) =>
        Effect.gen(function*() {
          yield* ours.sendFrame(Frame.close(code, reason))
          assert.strictEqual((yield* clean(ours.closed)).closedBy, "local")
          yield* theirs.sawEnd(shown, reason)
        })
    },
    {
      name: `closed by the peer with ${name}`,
      needs: [
        "obey",
        ...code === undefined ? ["close without a code"] as const : [],
        ...code !== undefined && code > 1000 && code < 3000 ? ["close with a code of the protocol"] as const : []
      ],
      run: (ours) =>
        Effect.gen(function*() {
          yield* ours.send(`please close ${code ?? ""} ${reason}`.trim())
          const ended = yield* clean(ours.closed)
          assert.deepStrictEqual([ended.closedBy, ended.received], ["remote", { code: shown, reason }])
        })
    }
  ]
}

const cuts = (how: Cut, cause: string): Exchange => ({
  name: `cut by the network: ${how}`,
  run: (ours, theirs) =>
    Effect.gen(function*() {
      yield* ours.send("hello")
      yield* ours.receive
      yield* theirs.cut(how)
      const ended = yield* ours.closed
      // The end of TCP is not that of an HTTP/2 stream, but the loss of its session.
      const expected = ours.request.httpVersion === "2" ? "TransportError" : cause
      assert.deepStrictEqual([ended.code, ended.clean, ended.cause?._tag], [1006, false, expected])
      yield* theirs.sawEnd(CloseCode.AbnormalClosure, "")
    })
})

/** The exchanges. To add rows, such as those of an extension, is to add them here. */
const exchanges: ReadonlyArray<Exchange> = [
  echoes("text", ["hello", "añ€😀"]),
  echoes("an empty text", [""]),
  echoes("binary messages, one of them empty", [Uint8Array.of(0, 255, 128), new Uint8Array(0)], "binary"),
  { ...echoes("texts of 500 bytes", ["a", "b", "a"].map((letter) => `${letter} `.repeat(250))), deflated: "us" },
  { ...echoes("a megabyte of text", [longText], "long messages"), deflated: "both" },
  { ...echoes("a megabyte of binary", [bytes(1024 * 1024)], "binary", "long messages"), deflated: "both" },
  {
    ...echoes("frames with each form of length", [125, 126, 65_535, 65_536].map(bytes), "binary", "long messages"),
    deflated: "both"
  },
  {
    ...echoes("similar texts, some of them empty", alike, "long messages"),
    deflated: "both"
  },
  {
    name: "a thousand messages in order, sent at once",
    needs: ["long messages"],
    deflated: "us",
    run: (ours) =>
      Effect.gen(function*() {
        const sent = Array.from({ length: 1000 }, (_, i) => `${i} ${"x".repeat(i)}`)
        yield* ours.sendAll(sent)
        const back = yield* Effect.replicateEffect(Effect.map(ours.receive, contentOf), sent.length)
        assert.deepStrictEqual(back, sent)
      })
  },
  {
    name: "our fragments, with a ping between them, and a character in two fragments",
    needs: ["join fragments"],
    run: (ours) =>
      Effect.gen(function*() {
        const euro = Buffer.from("€")
        yield* ours.sendFrame(Frame.text(euro.subarray(0, 1), { fin: false }))
        yield* ours.ping()
        yield* ours.sendFrame(Frame.continuation("", { fin: false }))
        yield* ours.sendFrame(Frame.continuation(euro.subarray(1)))
        assert.strictEqual(contentOf(yield* ours.receive), "€")
        yield* ours.sendFragments(Stream.make("a", "b", "c"))
        assert.strictEqual(contentOf(yield* ours.receive), "abc")
      })
  },
  longFragments("our long fragments", () => Effect.void),
  {
    ...longFragments("our long fragments, with pings between them", (ours) => ours.ping()),
    deflatedNeeds: ["pings among compressed fragments"]
  },
  {
    name: "fragments of the peer",
    needs: ["obey", "fragments"],
    run: (ours) =>
      Effect.gen(function*() {
        yield* ours.send("please fragments a b c")
        const message = yield* ours.receiveFragments
        if (message._tag === "Binary") return assert.fail("binary")
        const fragments = yield* Stream.runCollect(message.fragments)
        // Some end with an empty one.
        assert.deepStrictEqual(fragments.filter((fragment) => fragment !== ""), ["a", "b", "c"])
      })
  },
  {
    name: "long fragments of the peer",
    needs: ["obey", "fragments"],
    deflated: "them",
    run: (ours) =>
      Effect.gen(function*() {
        const parts = ["a", "b", "c"].map((letter) => letter.repeat(5000))
        for (let i = 0; i < 3; i++) {
          yield* ours.send(`please fragments ${parts.join(" ")}`)
          assert.strictEqual(contentOf(yield* ours.receive), parts.join(""))
        }
      })
  },
  {
    name: "our pings",
    run: (ours) =>
      Effect.gen(function*() {
        yield* ours.ping()
        yield* ours.ping("")
        yield* ours.ping(bytes(125))
      })
  },
  {
    name: "a ping of the peer",
    needs: ["obey", "ping"],
    run: (ours) =>
      Effect.gen(function*() {
        yield* ours.send("please ping data")
        assert.strictEqual(contentOf(yield* ours.receive), "pong data")
      })
  },
  {
    name: "the negotiated subprotocol",
    needs: ["obey", "subprotocol"],
    protocols: ["v1", "v2"],
    run: (ours) =>
      Effect.gen(function*() {
        assert.strictEqual(ours.subprotocol, "v2")
        yield* ours.send("please subprotocol")
        assert.strictEqual(contentOf(yield* ours.receive), "v2")
      })
  },
  ...closes(undefined, ""),
  ...closes(1000, ""),
  ...closes(1001, "going"),
  ...closes(3000, "añ€😀"),
  ...closes(4999, longestReason),
  {
    name: "all messages before the close frame",
    needs: ["obey"],
    run: (ours) =>
      Effect.gen(function*() {
        const sent = Array.from({ length: 100 }, (_, i) => String(i))
        yield* ours.sendAll([...sent, "please close 4000 enough"])
        const back: Array<unknown> = []
        const ended = yield* ours.receive.pipe(
          Effect.map((message) => back.push(contentOf(message))),
          Effect.forever,
          Effect.flip
        )
        assert.deepStrictEqual(back, sent)
        assert.deepStrictEqual([ended.code, ended.reason], [4000, "enough"])
      })
  },
  cuts("end", "UnexpectedEof"),
  cuts("reset", "TransportError")
]

// -----------------------------------------------------------------------------
// Both roles
// -----------------------------------------------------------------------------

class Service extends Context.Service<Service, Running>()("test/Peer") {}

let sessions = 0

/** A connection of ours with a peer that is its client, or its server, and a relay in between. */
const connect = (
  peer: Running,
  role: "client" | "server",
  protocols: ReadonlyArray<string>,
  cannot: Cannot,
  extensions: ReadonlyArray<Extension.Extension>
) =>
  Effect.gen(function*() {
    const path = `/${++sessions}`
    const via = (url: string) =>
      Effect.map(relay(Number(new URL(url).port)), ({ cut, port }) => ({ cut, url: `ws://127.0.0.1:${port}${path}` }))
    const theirs = (cut: Theirs["cut"]): Theirs => ({
      cut,
      sawEnd: (code, reason) =>
        cannot.report !== undefined ? Effect.void : Effect.map(peer.ended(path), (ended) => {
          const without = [CloseCode.NoStatusReceived, CloseCode.AbnormalClosure].some((none) => none === code)
          assert.deepStrictEqual(ended, { code: ended.code === undefined && without ? undefined : code, reason })
        })
    })
    if (role === "server") {
      if (peer.url === undefined) return yield* Effect.die("the peer has no server")
      const { cut, url } = yield* via(peer.url)
      return {
        ours: yield* WebSocketClient.connect(url, { ...peer.options, protocols, extensions }),
        theirs: theirs(cut)
      }
    }
    if (peer.connect === undefined) return yield* Effect.die("the peer has no client")
    const accepted = yield* Deferred.make<Shape>()
    const handler = Effect.flatMap(
      Connection.Connection,
      (connection) => Effect.andThen(Deferred.succeed(accepted, connection), connection.closed)
    )
    // A page of the server behind the relay is one of another host.
    const server = yield* serve(handler, {
      ...peer.http2 === "tls" ? { http2: true, tls } : { cleartextHttp2: peer.http2 === "cleartext" },
      serve: { protocols: ["v3", "v2"], origin: "any", extensions, closeTimeout: peer.closeTimeout }
    })
    const { cut, url } = yield* via(server.url)
    yield* peer.connect(peer.http2 === "tls" ? url.replace("ws://127.0.0.1", "wss://localhost") : url, protocols)
    const refused = Effect.flatMap(
      peer.ended(path),
      (ended) => Effect.die(new Error(`it did not connect: ${JSON.stringify(ended)}`))
    )
    const ours = yield* Effect.raceFirst(Deferred.await(accepted), refused)
    assert.strictEqual(ours.request.httpVersion, peer.http2 === undefined ? "1.1" : "2")
    return { ours, theirs: theirs(cut) }
  })

/** With nothing set, and with nothing kept between messages. */
const compressions: ReadonlyArray<{ readonly title: string; readonly options: PerMessageDeflate.Options }> = [
  { title: "with permessage-deflate", options: {} },
  {
    title: "with permessage-deflate, without context takeover",
    options: { serverNoContextTakeover: true, clientNoContextTakeover: true }
  }
]

/** Has the exchange compressed, and checks that it was agreed on, and that it was done. */
const deflated = (options: PerMessageDeflate.Options, { deflated: by, run }: Exchange, cannot: Cannot) => {
  const deflate = PerMessageDeflate.make(options)
  const runWith = (ours: Shape, theirs: Theirs) =>
    Effect.gen(function*() {
      assert.deepStrictEqual(ours.extensions.map(({ name }) => name), ["permessage-deflate"])
      const agreed = ours.extensions[0].parameters.map(({ name }) => name)
      const forgets = (end: string) => agreed.includes(`${end}_no_context_takeover`)
      if (options.serverNoContextTakeover === true) assert.isTrue(forgets("server"), agreed.join())
      yield* run(ours, theirs)
      const { received, sent } = yield* deflate.stats
      if (by !== "them") assert.isBelow(sent.compressed, sent.uncompressed / 2)
      if (by !== "us" && cannot.compress === undefined) assert.isBelow(received.compressed, received.uncompressed / 2)
    })
  return { extensions: [deflate], run: runWith }
}

/** Declares the tests of the table, for a peer. */
export const interop = (peer: Peer): void =>
  layer(Layer.effect(Service)(peer.start), { excludeTestServices: true })(peer.title, (it) => {
    for (const role of peer.roles) {
      const cannot: Cannot = { ...peer.cannot, ...peer.cannot?.[role] }
      const declare = (
        { name, needs = [], protocols = peer.protocols ?? [] }: Exchange,
        more: ReadonlyArray<Ability>,
        how: () => { readonly extensions: ReadonlyArray<Extension.Extension>; readonly run: Exchange["run"] }
      ) => {
        const lacking = [...more, ...needs].find((ability) => cannot[ability] !== undefined)
        if (lacking !== undefined) return it.skip(`${name}: not run, ${cannot[lacking]}`)
        it.effect(name, () =>
          Effect.gen(function*() {
            const { extensions, run } = how()
            const { ours, theirs } = yield* connect(yield* Service, role, protocols, cannot, extensions)
            yield* run(ours, theirs)
          }))
      }
      describe(role === "client" ? "as a client exchanges" : "as a server exchanges", () => {
        for (const exchange of exchanges) declare(exchange, [], () => ({ extensions: [], run: exchange.run }))
        for (const { options, title } of compressions) {
          describe(title, () => {
            const needs: ReadonlyArray<Ability> = options.serverNoContextTakeover === true
              ? ["permessage-deflate", "forget the context"]
              : ["permessage-deflate"]
            for (const exchange of exchanges) {
              if (exchange.deflated === undefined) continue
              const { deflatedNeeds = [] } = exchange
              const compress: ReadonlyArray<Ability> = exchange.deflated === "them" ? ["compress"] : []
              declare(exchange, [...needs, ...compress, ...deflatedNeeds], () => deflated(options, exchange, cannot))
            }
          })
        }
      })
    }
  })
