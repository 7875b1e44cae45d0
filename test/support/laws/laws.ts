/**
 * What holds for every `MessageConnection`, whatever it runs over. A law is a
 * program that talks to the server in `server.ts`, and dies if the law is broken.
 * It imports nothing that a page does not have.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { InvalidMessage } from "effect-ws/ConnectionError"
import type { ConnectError } from "effect-ws/HandshakeError"
import type * as Message from "effect-ws/Message"
import type { ConnectOptions } from "effect-ws/MessageClient"
import type { MessageConnection } from "effect-ws/MessageConnection"

export interface Subject {
  /** Whether close codes and errors are those of a browser. */
  readonly isBrowser: boolean
  readonly connect: (
    path: string,
    options?: ConnectOptions
  ) => Effect.Effect<MessageConnection, ConnectError, Scope.Scope>
}

export interface Law {
  readonly title: string
  readonly run: (subject: Subject, path: string) => Effect.Effect<void, unknown, Scope.Scope>
}

// -----------------------------------------------------------------------------
// Words of the laws
// -----------------------------------------------------------------------------

const show = (value: unknown): string =>
  JSON.stringify(value, (_key, inner: unknown) => inner instanceof Uint8Array ? Array.from(inner) : inner) ??
    "undefined"

const isSame = (actual: unknown, expected: unknown): boolean =>
  actual instanceof Uint8Array && expected instanceof Uint8Array
    ? actual.length === expected.length && actual.every((byte, i) => byte === expected[i])
    : show(actual) === show(expected)

const same = (actual: unknown, expected: unknown): Effect.Effect<void> =>
  isSame(actual, expected)
    ? Effect.void
    : Effect.die(new Error(`expected ${show(expected).slice(0, 300)}, got ${show(actual).slice(0, 300)}`))

const contentOf = (message: Message.Message): string | Uint8Array =>
  message._tag === "Text" ? message.text : message.bytes

const next = (connection: MessageConnection) => Effect.map(connection.receive, contentOf)

/** How the server saw the end of the connection with a path. */
const seenBy = ({ connect }: Subject, path: string) =>
  Effect.scoped(
    Effect.flatMap(connect(`/ended?of=${path}`), (connection) =>
      Effect.map(next(connection), (text) => JSON.parse(String(text)) as unknown))
  )

const facts = (
  { clean, closedBy, code, reason }: { clean: boolean; closedBy?: string | undefined; code: number; reason: string }
) => ({
  code,
  reason,
  clean,
  closedBy
})

const text = (message: Message.Message): Result.Result<string, InvalidMessage> =>
  message._tag === "Text"
    ? Result.succeed(message.text)
    : Result.fail(new InvalidMessage({ reason: "Type", problem: "Expected text", received: message, cause: undefined }))

const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => i % 251)

// -----------------------------------------------------------------------------
// Messages
// -----------------------------------------------------------------------------

const echoes = (title: string, messages: ReadonlyArray<string | Uint8Array>): Law => ({
  title: `carries ${title} unchanged`,
  run: ({ connect }, path) =>
    Effect.gen(function*() {
      const connection = yield* connect(path)
      for (const message of messages) {
        yield* connection.send(message)
        yield* same(yield* next(connection), message)
      }
    })
})

const messages: ReadonlyArray<Law> = [
  echoes("text", ["hello", "", "añ€😀"]),
  echoes("a byte order mark", ["\ufeffmark"]),
  echoes("binary", [Uint8Array.of(0, 255, 128), new Uint8Array(0)]),
  echoes("a megabyte", ["x€".repeat(250_000), bytes(1024 * 1024)]),
  {
    title: "keeps the order of a thousand messages",
    run: ({ connect }, path) =>
      Effect.gen(function*() {
        const connection = yield* connect(path)
        const sent = Array.from({ length: 1000 }, (_, i) => `${i} ${"x".repeat(i % 200)}`)
        yield* connection.sendAll(sent)
        const received = yield* connection.messages.pipe(Stream.take(1000), Stream.map(contentOf), Stream.runCollect)
        yield* same(received, sent)
      })
  },
  {
    title: "sends all in order to a server that reads late",
    run: ({ connect }) =>
      Effect.gen(function*() {
        const connection = yield* connect("/slow")
        const sent = Array.from({ length: 64 }, (_, i) => new Uint8Array(256 * 1024 + i))
        yield* Effect.forkScoped(Effect.forEach(sent, (message) => connection.send(message), { discard: true }))
        for (const { length } of sent) yield* same(yield* next(connection), `${length} bytes`)
        yield* connection.writable
      })
  },
  {
    title: "delivers what an interrupted receive has waited for",
    run: ({ connect }, path) =>
      Effect.gen(function*() {
        const connection = yield* connect(path)
        const waiting = yield* Effect.forkScoped(connection.receive)
        yield* Effect.yieldNow
        yield* Fiber.interrupt(waiting)
        yield* connection.send("a")
        yield* same(yield* next(connection), "a")
      })
  },
  {
    title: "gives each message to one of several readers",
    run: ({ connect }, path) =>
      Effect.gen(function*() {
        const connection = yield* connect(path)
        const readers = yield* Effect.forEach([1, 2, 3], () => Effect.forkScoped(next(connection)))
        yield* connection.sendAll(["a", "b", "c"])
        const received = yield* Effect.forEach(readers, Fiber.join)
        yield* same(received.toSorted(), ["a", "b", "c"])
      })
  },
  {
    title: "decodes messages, and goes on behind an invalid one",
    run: ({ connect }, path) =>
      Effect.gen(function*() {
        const connection = yield* connect(path)
        yield* connection.sendAll([Uint8Array.of(1), "a", Uint8Array.of(2), "b"])
        const receive = connection.receiveWith(text, Effect.fail)
        yield* same((yield* Effect.flip(receive) as Effect.Effect<InvalidMessage>)._tag, "InvalidMessage")
        yield* same(yield* receive, "a")
        const texts = connection.messagesWith(text, Effect.fail)
        yield* same((yield* Effect.flip(Stream.runDrain(texts)))._tag, "InvalidMessage")
        yield* same(yield* texts.pipe(Stream.take(1), Stream.runCollect), ["b"])
      })
  },
  {
    title: "rejects values that are no messages, and sends none of them",
    run: ({ connect }, path) =>
      Effect.gen(function*() {
        const connection = yield* connect(path)
        for (const value of [1, null, {}, new ArrayBuffer(1), [1]] as ReadonlyArray<unknown>) {
          const problem = (yield* Effect.flip(connection.send(value as string))) as { readonly _tag: string }
          yield* same(problem._tag, "InvalidInput")
        }
        const all = (yield* Effect.flip(connection.sendAll(["a", 1 as unknown as string]))) as { readonly _tag: string }
        yield* same(all._tag, "InvalidInput")
        yield* connection.send("b")
        yield* same(yield* next(connection), "b")
      })
  }
]

// -----------------------------------------------------------------------------
// The end
// -----------------------------------------------------------------------------

const longestReason = "€".repeat(41)

const closedByPeer = (code: number | undefined, reason: string, isNormal: boolean): Law => ({
  title: `reports that the peer closed with ${code ?? "no code"}`,
  run: ({ connect }, path) =>
    Effect.gen(function*() {
      const connection = yield* connect(path)
      yield* connection.sendAll(["a", "b", `please close ${code ?? ""} ${reason}`.trim()])
      const received: Array<unknown> = []
      const exit = yield* Effect.exit(
        Stream.runForEach(connection.messages, (message) => Effect.sync(() => received.push(contentOf(message))))
      )
      yield* same(received, ["a", "b"])
      yield* same(Exit.isSuccess(exit), isNormal)
      const closed = yield* connection.closed
      yield* same(facts(closed), { code: code ?? 1005, reason, clean: true, closedBy: "remote" })
      yield* same(closed === (yield* Effect.flip(connection.receive)), true)
      yield* same(closed === (yield* Effect.flip(connection.send("late"))), true)
      yield* same(closed === (yield* connection.close()), true)
    })
})

const closedHere = (code: number, reason: string): Law => ({
  title: `closes with ${code} and a reason of ${reason.length} characters`,
  run: (subject, path) =>
    Effect.gen(function*() {
      const connection = yield* subject.connect(path)
      const closed = yield* connection.close(code, reason)
      yield* same(facts(closed), { code, reason, clean: true, closedBy: "local" })
      yield* same(yield* seenBy(subject, path), { code, reason })
    })
})

const scopeEnds = (title: string, exit: Exit.Exit<unknown, unknown>, onNode: number, inBrowser: number): Law => ({
  title: `closes with ${onNode} on Node and ${inBrowser} in a browser when its Scope ${title}`,
  run: (subject, path) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      yield* Scope.provide(subject.connect(path), scope)
      yield* Scope.close(scope, exit)
      yield* same(yield* seenBy(subject, path), { code: subject.isBrowser ? inBrowser : onNode, reason: "" })
    })
})

const ends: ReadonlyArray<Law> = [
  closedByPeer(undefined, "", true),
  closedByPeer(1000, "", true),
  closedByPeer(1001, "going", true),
  closedByPeer(1011, "broken", false),
  closedByPeer(4999, longestReason, false),
  closedHere(1000, ""),
  closedHere(1005, ""),
  closedHere(3000, "añ€😀"),
  closedHere(4999, longestReason),
  scopeEnds("succeeds", Exit.void, 1000, 1000),
  scopeEnds("is interrupted", Exit.interrupt(0), 1001, 1000),
  scopeEnds("fails", Exit.fail("x"), 1011, 4011),
  {
    title: "rejects codes and reasons that no close frame can have, and stays open",
    run: ({ connect }, path) =>
      Effect.gen(function*() {
        const connection = yield* connect(path)
        for (const code of [999, 1004, 1006, 1015, 2999, 5000, 1000.5, Number.NaN]) {
          yield* same((yield* Effect.flip(connection.close(code)))._tag, "InvalidCloseCode")
        }
        yield* same((yield* Effect.flip(connection.close(1000, `${longestReason}a`)))._tag, "CloseReasonTooLong")
        yield* connection.send("a")
        yield* same(yield* next(connection), "a")
      })
  },
  {
    title: "fails with a cause when the connection is lost",
    run: ({ connect }, path) =>
      Effect.gen(function*() {
        const connection = yield* connect(path)
        yield* connection.send("please terminate")
        const closed = yield* Effect.flip(connection.receive)
        yield* same(facts(closed), { code: 1006, reason: "", clean: false, closedBy: undefined })
        yield* same(closed.cause === undefined, false)
        yield* same(closed === (yield* Effect.flip(Stream.runDrain(connection.messages))), true)
      })
  },
  {
    title: "fails the connection for an invalid message, with its code, and drops the others",
    run: (subject, path) =>
      Effect.gen(function*() {
        const connection = yield* subject.connect(path)
        yield* connection.sendAll([Uint8Array.of(1), "a"])
        const failing = connection.receiveWith(text, (error) => Effect.flatMap(connection.fail(error), Effect.fail))
        const closed = yield* Effect.flip(failing)
        yield* same([closed.cause?._tag, closed.clean, closed.closedBy], ["InvalidMessage", false, "local"])
        yield* same(closed === (yield* Effect.flip(connection.receive)), true)
        yield* same(yield* seenBy(subject, path), { code: subject.isBrowser ? 4003 : 1003, reason: "Expected text" })
      })
  },
  {
    title: "drops all data from discard on, and returns the end",
    run: ({ connect }, path) =>
      Effect.gen(function*() {
        const connection = yield* connect(path)
        yield* connection.sendAll(["please count 100", "please close 4000 done"])
        yield* same(facts(yield* connection.discard), { code: 4000, reason: "done", clean: true, closedBy: "remote" })
        yield* same((yield* Effect.flip(connection.receive)).code, 4000)
      })
  },
  {
    title: "wakes all that wait when it ends",
    run: ({ connect }, path) =>
      Effect.gen(function*() {
        const connection = yield* connect(path)
        const waiting = yield* Effect.forEach([1, 2], () => Effect.forkScoped(Effect.flip(connection.receive)))
        yield* connection.send("please close 4000")
        const closed = yield* connection.closed
        for (const fiber of waiting) yield* same((yield* Fiber.join(fiber)) === closed, true)
      })
  }
]

// -----------------------------------------------------------------------------
// Connecting
// -----------------------------------------------------------------------------

const connecting: ReadonlyArray<Law> = [
  {
    title: "negotiates a subprotocol",
    run: ({ connect }, path) =>
      Effect.gen(function*() {
        const connection = yield* connect(path, { protocols: ["v1", "v2"] })
        yield* same(connection.subprotocol, "v2")
        yield* connection.send("please subprotocol")
        yield* same(yield* next(connection), "v2")
        yield* same((yield* connect(`${path}/without`)).subprotocol, undefined)
      })
  },
  {
    title: "fails to connect when the server rejects, with the status only on Node",
    run: ({ connect, isBrowser }) =>
      Effect.flatMap(
        Effect.flip(connect("/reject")),
        ({ _tag }) => same(_tag, isBrowser ? "ConnectFailed" : "HandshakeRejected")
      )
  },
  {
    title: "fails with HandshakeTimeout when the server does not respond",
    run: ({ connect }) =>
      Effect.flatMap(
        Effect.flip(connect("/hang", { handshakeTimeout: "50 millis" })),
        ({ _tag }) => same(_tag, "HandshakeTimeout")
      )
  },
  {
    title: "stops connecting when it is interrupted",
    run: ({ connect }) =>
      Effect.gen(function*() {
        const fiber = yield* Effect.forkScoped(Effect.scoped(connect("/hang")))
        yield* Effect.yieldNow
        yield* Fiber.interrupt(fiber)
      })
  },
  {
    title: "fails before it connects when a value of the program is invalid",
    run: ({ connect }, path) =>
      Effect.gen(function*() {
        const tagOf = (options: ConnectOptions) => Effect.map(Effect.flip(connect(path, options)), ({ _tag }) => _tag)
        yield* same(yield* tagOf({ protocols: ["a b"] }), "InvalidProtocol")
        yield* same(yield* tagOf({ protocols: ["a", "a"] }), "InvalidProtocol")
        yield* same(yield* tagOf({ handshakeTimeout: 0 }), "InvalidOption")
        yield* same(yield* tagOf({ maxMessageSize: Number.NaN }), "InvalidOption")
      })
  },
  {
    title: "fails with MessageTooLarge above maxMessageSize",
    run: ({ connect }, path) =>
      Effect.gen(function*() {
        const connection = yield* connect(path, { maxMessageSize: 10 })
        yield* connection.sendAll(["€€€", Uint8Array.from(Array(10).keys())])
        yield* same(yield* next(connection), "€€€")
        yield* same((yield* next(connection)).length, 10)
        yield* connection.send("€€€€")
        yield* same((yield* Effect.flip(connection.receive)).cause?._tag, "MessageTooLarge")
      })
  }
]

export const laws: ReadonlyArray<Law> = [...messages, ...ends, ...connecting]

/** Runs a law on a connection of its own. Programs that share a server must not share its paths. */
export const runLaw = (law: Law, subject: Subject): Effect.Effect<void, unknown> =>
  Effect.scoped(Effect.suspend(() => law.run(subject, `/law/${Math.random()}`)))
