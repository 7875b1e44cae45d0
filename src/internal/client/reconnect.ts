/**
 * One logical connection over many. One fiber makes them, one after the other;
 * who sends and who reads meet it in `Link`.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Pull from "effect/Pull"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as CloseCode from "../../CloseCode.ts"
import type * as Connection from "../../Connection.ts"
import { ConnectionClosed, InvalidInput, NotConnected } from "../../ConnectionError.ts"
import type { SendOptions } from "../../Extension.ts"
import { type ConnectError, HandshakeRedirected, HandshakeRejected, ProxyRejected } from "../../HandshakeError.ts"
import type * as Message from "../../Message.ts"
import type { Failure, Reconnecting, ReconnectingOptions, State, WebSocketClient } from "../../WebSocketClient.ts"
import { copyOf, failInvalid, sendablesOf } from "../connection/input.ts"
import { checkReconnecting } from "../options.ts"
import { readRetryAfter } from "./retryAfter.ts"
import { Timers } from "../runtime/timers.ts"

/** How many connections that nobody has read to their end are remembered, the one that is open among them. */
const maxUnread = 8
const defaultResetAfter = Duration.seconds(5)
const defaultMaxRetryAfter = Duration.minutes(5)
/** How much is added at random to what a server asks for, so that its clients do not return all at once. */
const retryAfterJitter = 0.2
const defaultSchedule = Schedule.jittered(
  Schedule.min([Schedule.exponential("500 millis"), Schedule.spaced("30 seconds")])
)

// -----------------------------------------------------------------------------
// Which failures are final
// -----------------------------------------------------------------------------

type FinalTag = Exclude<
  ConnectError["_tag"],
  "ConnectFailed" | "HandshakeTimeout" | "HandshakeRejected" | "ProxyRejected"
>

/** What would be answered the same the next time. */
const finalTags: Readonly<Record<FinalTag, true>> = {
  InvalidUrl: true,
  InvalidHeader: true,
  InvalidProtocol: true,
  InvalidOption: true,
  InvalidStatus: true,
  ProtocolNotOffered: true,
  ExtensionNotOffered: true,
  UnsupportedHttpVersion: true,
  MissingHeader: true,
  InvalidUpgradeHeader: true,
  InvalidConnectionHeader: true,
  InvalidAccept: true,
  InvalidExtensionHeader: true,
  UnsolicitedProtocol: true,
  UnsolicitedExtension: true,
  ExtensionMismatch: true,
  HandshakeRedirected: true,
  TooManyRedirects: true,
  RedirectRefused: true
}

/** Request Timeout, Too Early, Too Many Requests: they say to try again. */
const transientStatuses = new Set([408, 425, 429])

export const isFinal = (failure: Failure<unknown>): boolean => {
  if (failure instanceof ConnectionClosed) {
    return failure.normal && failure.closedBy === "remote" && failure.code !== CloseCode.GoingAway
  }
  if (failure instanceof HandshakeRejected || failure instanceof ProxyRejected) {
    return failure.status < 500 && !transientStatuses.has(failure.status)
  }
  return failure instanceof Error && "_tag" in failure && Object.hasOwn(finalTags, failure._tag as string)
}

/** How a client ends when this was the last of its failures: as the streams of a connection do. */
const toExit = <E>(failure: Failure<E>): Exit.Exit<void, Failure<E>> =>
  failure instanceof ConnectionClosed && failure.normal ? Exit.void : Exit.fail(failure)

// -----------------------------------------------------------------------------
// How long to wait
// -----------------------------------------------------------------------------

/**
 * A clock for intervals, in milliseconds: the time of day when it was made, plus
 * what the monotonic clock has counted since. Setting the system's clock does not move it.
 */
const steadyClock: Effect.Effect<() => number> = Effect.contextWith((context: Context.Context<never>) => {
  const timers = Timers.of(context)
  const offset = timers.clock.currentTimeMillisUnsafe() - timers.now()
  return Effect.succeed(() => offset + timers.now())
})

/** What the schedule says, or longer if the response asks for it with a Retry-After (RFC 9110 §10.2.3). */
const delayAfter = (
  failure: Failure<unknown>,
  scheduled: Duration.Duration,
  maxRetryAfter: number
): Effect.Effect<Duration.Duration> => {
  const value = failure instanceof HandshakeRejected || failure instanceof HandshakeRedirected
    ? failure.headers["retry-after"]
    : undefined
  if (value === undefined) return Effect.succeed(scheduled)
  return Effect.zipWith(Clock.currentTimeMillis, Random.next, (now, random) => {
    const asked = Math.min(readRetryAfter(value, now) ?? 0, maxRetryAfter)
    return Duration.max(scheduled, Duration.millis(Math.ceil(asked * (1 + retryAfterJitter * random))))
  })
}

// -----------------------------------------------------------------------------
// Where the connections and those who use them meet
// -----------------------------------------------------------------------------

type WhileDown = NonNullable<ReconnectingOptions["whileDisconnected"]>
type Use = (connection: Connection.Connection) => Effect.Effect<void, ConnectionClosed>

class ConnectionSlot<E> {
  private readonly whileDisconnected: WhileDown
  /** The connection that takes what is sent. */
  private open: Connection.Connection | undefined
  /** Opened whenever it is worth while to look again, for those who send and those who read. */
  private readonly available = Latch.makeUnsafe(false)
  private readonly readable = Latch.makeUnsafe(false)
  /** What was sent while there was no connection, and is kept for the next. */
  private readonly buffered: Array<Use> = []
  /** The connections that were not read to their end, oldest first. */
  private readonly unfinished: Array<Connection.Connection> = []
  private exit: Exit.Exit<void, Failure<E>> | undefined
  private lastFailure: Failure<E> | undefined

  constructor(whileDisconnected: WhileDown) {
    this.whileDisconnected = whileDisconnected
  }

  /**
   * A connection is ready: it gets what was kept, and then all that is sent. It
   * is read from the beginning, because its peer may answer before it takes more.
   */
  set(connection: Connection.Connection): Effect.Effect<void, ConnectionClosed> {
    return Effect.suspend(() => {
      this.unfinished.push(connection)
      if (this.unfinished.length > maxUnread) this.unfinished.shift()
      this.readable.openUnsafe()
      return this.sendKept(connection)
    })
  }

  private sendKept(connection: Connection.Connection): Effect.Effect<void, ConnectionClosed> {
    return Effect.suspend(() => {
      const use = this.buffered.shift()
      if (use !== undefined) {
        return Effect.matchEffect(use(connection), {
          onFailure: (closed) => {
            // It was not sent.
            this.buffered.unshift(use)
            return Effect.fail(closed)
          },
          onSuccess: () => this.sendKept(connection)
        })
      }
      this.open = connection
      this.available.openUnsafe()
      return Effect.void
    })
  }

  /** A connection is lost, or none was to be had. Told by whoever finds out first. */
  clear(failure: Failure<E>, connection?: Connection.Connection): void {
    if (this.exit !== undefined || (connection !== undefined && connection !== this.open)) return
    this.lastFailure = failure
    this.open = undefined
    this.available.closeUnsafe()
  }

  /** There will be no more connections. */
  close(exit: Exit.Exit<void, Failure<E>>): void {
    this.exit = exit
    this.open = undefined
    this.buffered.length = 0
    this.available.openUnsafe()
    this.readable.openUnsafe()
  }

  private get notConnected(): Effect.Effect<never, NotConnected<E>> {
    if (this.exit !== undefined && Exit.isFailure(this.exit) && Cause.hasDies(this.exit.cause)) {
      return Effect.failCause(this.exit.cause as Cause.Cause<never>)
    }
    return Effect.fail(new NotConnected<E>({ final: this.exit !== undefined, cause: this.lastFailure }))
  }

  readonly connection: Effect.Effect<Connection.Connection, NotConnected<E>> = Effect.suspend(() => {
    if (this.open !== undefined) return Effect.succeed(this.open)
    return this.exit === undefined ? Effect.andThen(this.available.await, this.connection) : this.notConnected
  })

  /** Sends messages that were checked: over this connection, or over the next if it is lost before they were sent. */
  send(
    messages: ReadonlyArray<Message.Input>,
    options: SendOptions | undefined
  ): Effect.Effect<void, NotConnected<E>> {
    return Effect.suspend(() => {
      const connection = this.open
      if (connection !== undefined) {
        return Effect.catchTag(connection.sendAll(messages, options), "ConnectionClosed", (closed) => {
          // It was not sent, and may be over the next one.
          this.clear(closed, connection)
          return this.send(messages, options)
        })
      }
      if (this.exit !== undefined || this.whileDisconnected === "fail") return this.notConnected
      if (this.whileDisconnected !== "suspend" && this.buffered.length < this.whileDisconnected.buffer) {
        // The program may use its buffers again.
        const own = messages.map(copyOf)
        this.buffered.push((next) => next.sendAll(own, options))
        return Effect.void
      }
      return Effect.andThen(this.available.await, this.send(messages, options))
    })
  }

  private readonly nextUnread: Effect.Effect<Connection.Connection, Failure<E> | Cause.Done> = Effect.suspend(() => {
    if (this.unfinished.length > 0) return Effect.succeed(this.unfinished[0])
    if (this.exit !== undefined) return Effect.andThen(this.exit, Cause.done())
    this.readable.closeUnsafe()
    return Effect.andThen(this.readable.await, this.nextUnread)
  })

  get messages(): Reconnecting<E>["messages"] {
    return Stream.fromPull(Effect.succeed(Effect.map(this.nextUnread, (connection) => [connection] as const))).pipe(
      Stream.flatMap((connection) =>
        Stream.onEnd(
          Stream.ignore(connection.messages),
          Effect.sync(() => {
            // Several may read it; it goes once.
            const at = this.unfinished.indexOf(connection)
            if (at >= 0) this.unfinished.splice(at, 1)
          })
        )
      )
    )
  }
}

// -----------------------------------------------------------------------------
// The connections, one after the other
// -----------------------------------------------------------------------------

const evaluate = <A, E, R>(value: A | Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.isEffect(value) ? value as Effect.Effect<A, E, R> : Effect.succeed(value)

export const reconnect = Effect.fnUntraced(function*<E, R, E1, R1, E2, R2, E3, R3>(
  connect: WebSocketClient["connect"],
  url: string | URL | Effect.Effect<string | URL, E, R>,
  options: ReconnectingOptions<E, E1, R1, E2, R2, E3, R3>
): Effect.fn.Return<Reconnecting<E | E1 | E2 | E3>, never, Scope.Scope | R | R1 | R2 | R3> {
  type Failed = Failure<E | E1 | E2>
  type Ended = Failure<E | E1 | E2 | E3>
  const {
    headers,
    isFinal: endsWith = isFinal,
    maxRetryAfter = defaultMaxRetryAfter,
    onOpen,
    resetAfter = defaultResetAfter,
    schedule = defaultSchedule,
    whileDisconnected = "suspend",
    ...connectOptions
  } = options
  const problem = checkReconnecting(options)
  const now = yield* steadyClock
  const link = new ConnectionSlot<E | E1 | E2 | E3>(whileDisconnected)
  const state = yield* SubscriptionRef.make<State<E | E1 | E2 | E3>>({ _tag: "Connecting", runAttempt: 1 })
  const closed = yield* Deferred.make<void, Ended>()
  /** Those that close connections which were lost. */
  const closingFibers = new Set<Fiber.Fiber<void>>()
  /** How the Scope was closed, once it was. */
  let scopeExit: Exit.Exit<unknown, unknown> | undefined
  let openedAt: number | undefined

  /** One connection, from its making to its end. */
  const runConnection = Effect.gen(function*() {
    const target = yield* evaluate<string | URL, E, R>(url)
    // Where there are none, the client may have its own.
    const fresh = headers === undefined ? {} : { headers: yield* evaluate(headers) }
    const connection = yield* connect(target, { ...connectOptions, ...fresh })
    if (onOpen !== undefined) {
      yield* Effect.raceFirst(onOpen(connection), Effect.flatMap(connection.closed, Effect.fail))
    }
    yield* link.set(connection)
    openedAt = now()
    yield* SubscriptionRef.set(state, { _tag: "Open", connection })
    return yield* connection.closed
  })

  /** One attempt, and why it is over. */
  const attempt = Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const exit = yield* Effect.exit(restore(Scope.provide(runConnection, scope)))
      if (scopeExit === undefined) {
        // The next connection does not wait until the last of this one is gone, but the Scope does.
        const closing = yield* Effect.forkDetach(Scope.close(scope, exit), { startImmediately: true })
        closingFibers.add(closing)
        closing.addObserver(() => closingFibers.delete(closing))
      } else yield* Scope.close(scope, scopeExit)
      return yield* exit
    })
  ).pipe(Effect.catch(Effect.succeed<Failed>))

  const run = Effect.gen(function*() {
    if (problem !== undefined) {
      link.clear(problem)
      return yield* Effect.fail(problem)
    }
    const lasting = Duration.toMillis(resetAfter)
    const longest = Duration.toMillis(maxRetryAfter)
    let step = yield* Schedule.toStep(schedule)
    for (let count = 1;; count++) {
      openedAt = undefined
      const cause = yield* attempt
      link.clear(cause)
      if (endsWith(cause)) return yield* toExit(cause)
      if (openedAt !== undefined && now() - openedAt >= lasting) {
        step = yield* Schedule.toStep(schedule)
        count = 0
      }
      const scheduled = yield* Pull.matchEffect(step(now(), cause), {
        onSuccess: ([, duration]) => Effect.succeed(duration),
        onFailure: Effect.failCause,
        onDone: () => Effect.undefined
      })
      if (scheduled === undefined) return yield* toExit(cause)
      const delay = yield* delayAfter(cause, scheduled, longest)
      yield* SubscriptionRef.set(state, { _tag: "Waiting", attempt: count + 1, cause, delay })
      yield* Effect.sleep(delay)
      yield* SubscriptionRef.set(state, { _tag: "Connecting", runAttempt: count + 1 })
    }
  })

  /** All that is known of the end is known at once; who watches the state is told in a step of its own. */
  const finish = (exit: Exit.Exit<void, Ended>): Effect.Effect<void> => {
    if (!Deferred.doneUnsafe(closed, exit)) return Effect.void
    link.close(exit)
    return SubscriptionRef.set(state, { _tag: "Closed", exit })
  }

  yield* Effect.acquireRelease(
    Effect.forkDetach(Effect.onExit(run, finish)),
    (fiber, exit) =>
      Effect.suspend(() => {
        scopeExit = exit
        const notified = finish(Exit.void)
        // In the same step, so that no connection is attached behind the end.
        fiber.interruptUnsafe()
        return Effect.andThen(notified, Fiber.awaitAll([fiber, ...closingFibers]))
      })
  )

  const sendAll: Reconnecting<E | E1 | E2 | E3>["sendAll"] = (messages, sendOptions) =>
    Effect.suspend(() => {
      const checked = sendablesOf(messages)
      return checked instanceof InvalidInput ? failInvalid(checked) : link.send(messages, sendOptions)
    })

  return {
    state,
    messages: link.messages,
    send: (message, sendOptions) => sendAll([message], sendOptions),
    sendAll,
    connection: link.connection,
    closed: Deferred.await(closed)
  }
})
