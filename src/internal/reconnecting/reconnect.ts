/**
 * Makes the connections of a reconnecting client, one after the other, until a
 * failure is final.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type { ConnectionClosed } from "../../ConnectionError.ts"
import type { MessageConnection } from "../../MessageConnection.ts"
import type { Failure, Options, Reconnecting, State } from "../../Reconnecting.ts"
import type { Wake } from "../../Wake.ts"
import { type Backoff, makeBackoff } from "./backoff.ts"
import { isFinal, toExit } from "./failures.ts"
import { LogicalConnection } from "./logicalConnection.ts"
import { checkReconnecting } from "./options.ts"
import { steadyClock } from "../runtime/steadyClock.ts"

export const reconnect = Effect.fnUntraced(function*<C extends MessageConnection, E, R, E2, R2, E3, R3, E4, R4>(
  connect: (attempt: number) => Effect.Effect<C, E, R>,
  options: Options<C, E, E2, R2, E3, R3, E4, R4>,
  wake: Wake
): Effect.fn.Return<Reconnecting<E | E2 | E3 | E4, C>, never, Scope.Scope | R | R2 | R3 | R4> {
  const invalid = checkReconnecting(options)
  const client = new LogicalConnection<C, E | E2 | E3 | E4>(
    // Invalid options are not used.
    invalid === undefined ? options : {},
    yield* steadyClock,
    yield* SubscriptionRef.make<State<E | E2 | E3 | E4, C>>({ _tag: "Connecting", attempt: 1 })
  )
  // In this order, so that no signal is missed between the two.
  yield* wake.listen((signal) => client.onSignal(signal))
  if (yield* wake.isHidden) client.onSignal("hidden")
  const running = invalid === undefined
    ? Effect.flatMap(
      makeBackoff<E | E2, E3, R3>(options),
      (backoff) => new Attempts(client, backoff, connect, options, wake).run
    )
    : client.rejectOption(invalid)
  yield* Effect.acquireRelease(
    Effect.forkDetach(Effect.onExit(running, (exit) => client.finish(exit))),
    (fiber, exit) => client.release(fiber, exit)
  )
  return client.operations
})

/** Why a connection ended, or an attempt failed. */
interface Ended<E> {
  readonly cause: Failure<E>
  /** Whether this end has closed the connection because the page is hidden. */
  readonly isHidden: boolean
}

class Attempts<C extends MessageConnection, E, R, E2, R2, E3, R3, E4, R4> {
  private readonly client: LogicalConnection<C, E | E2 | E3 | E4>
  private readonly backoff: Backoff<E | E2, E3, R3>
  private readonly connect: (attempt: number) => Effect.Effect<C, E, R>
  private readonly options: Options<C, E, E2, R2, E3, R3, E4, R4>
  private readonly wake: Wake

  constructor(
    client: LogicalConnection<C, E | E2 | E3 | E4>,
    backoff: Backoff<E | E2, E3, R3>,
    connect: (attempt: number) => Effect.Effect<C, E, R>,
    options: Options<C, E, E2, R2, E3, R3, E4, R4>,
    wake: Wake
  ) {
    this.client = client
    this.backoff = backoff
    this.connect = connect
    this.options = options
    this.wake = wake
  }

  /** Attempts to connect until a failure is final or the schedule ends. */
  get run(): Effect.Effect<void, Failure<E | E2 | E3 | E4>, Exclude<R | R2, Scope.Scope> | R3 | R4> {
    const { backoff, client } = this
    return Effect.gen({ self: this }, function*() {
      if (client.wakes.isPaused) {
        yield* this.pause(undefined, client.now())
        yield* client.enter({ _tag: "Connecting", attempt: 1 })
      }
      for (;;) {
        const started = client.now()
        const { cause, isHidden } = yield* this.attempt
        client.lose(cause)
        if (isHidden) yield* this.pause(cause, client.now())
        else if (yield* this.isLast(cause, client.now() - started)) return yield* toExit<E | E2 | E3 | E4>(cause)
        else if (!(yield* this.waitAfter(cause))) return yield* toExit<E | E2 | E3 | E4>(cause)
        yield* client.enter({ _tag: "Connecting", attempt: backoff.attempt })
      }
    })
  }

  /** Connects once. Returns how the connection ended, or why connecting failed. */
  private get attempt(): Effect.Effect<Ended<E | E2>, never, Exclude<R | R2, Scope.Scope>> {
    const { backoff, client, connect, options: { onOpen } } = this
    const connecting = Effect.gen(function*() {
      const connection = yield* connect(backoff.attempt)
      const lost = Effect.flatMap(connection.closed, Effect.fail)
      if (onOpen !== undefined) yield* Effect.raceFirst(onOpen(connection), lost)
      yield* client.open(connection)
      backoff.opened()
      const watches = client.watches(connection)
      yield* watches.length === 0 ? lost : Effect.raceAllFirst([lost, ...watches])
      // The page is hidden for too long.
      return yield* Effect.orDie(connection.close())
    })
    return Effect.match(client.scopes.run(connecting), {
      onSuccess: (closed: ConnectionClosed): Ended<E | E2> => ({ cause: closed, isHidden: true }),
      onFailure: (cause: Failure<E | E2>) => ({ cause, isHidden: false })
    })
  }

  private isLast(cause: Failure<E | E2>, millis: number): Effect.Effect<boolean, E4, R4> {
    return Effect.flatMap(this.wake.isOffline, (isOffline) => {
      if (this.client.fastFailures.isTooMany(cause, millis, isOffline)) return Effect.succeed(true)
      const decision = (this.options.isFinal ?? isFinal)(cause)
      return typeof decision === "boolean" ? Effect.succeed(decision) : decision
    })
  }

  /** Waits before the next attempt. Returns false if the schedule has ended. */
  private waitAfter(cause: Failure<E | E2>): Effect.Effect<boolean, E3, R3> {
    const { backoff, client } = this
    return Effect.gen({ self: this }, function*() {
      const delay = yield* backoff.next(cause)
      if (delay === undefined) return false
      const now = client.now()
      const earliest = now + Duration.toMillis(delay.least)
      yield* client.enter({ _tag: "Waiting", attempt: backoff.attempt, cause, delay: delay.duration })
      const woken = yield* client.wakes.sleepUntil(now + Duration.toMillis(delay.duration), earliest)
      if (woken) yield* backoff.restart
      if (client.wakes.isPaused) yield* this.pause(cause, earliest)
      return true
    })
  }

  /** Waits until the page is visible, and starts the schedule anew. */
  private pause(cause: Failure<E | E2> | undefined, earliest: number): Effect.Effect<void, never, R3> {
    const { backoff, client } = this
    return Effect.gen(function*() {
      yield* client.enter({ _tag: "Paused", cause })
      yield* client.wakes.awaitVisible(earliest)
      yield* backoff.restart
    })
  }
}
