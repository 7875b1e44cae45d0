/**
 * One logical connection over many. One fiber makes the connections, one after
 * the other; the fibers that send and read meet it in `ConnectionSlot`.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type { InvalidOption } from "../../HandshakeError.ts"
import type { MessageConnection } from "../../MessageConnection.ts"
import type { Failure, Options, Reconnecting, State } from "../../Reconnecting.ts"
import { AttemptScopes } from "./attemptScopes.ts"
import { type Backoff, makeBackoff } from "./backoff.ts"
import { ConnectionSlot } from "./connectionSlot.ts"
import { isFinal, toExit } from "./failures.ts"
import { checkReconnecting } from "./options.ts"

export const reconnect = Effect.fnUntraced(function*<C extends MessageConnection, E, R, E2, R2, E3, R3>(
  connect: (attempt: number) => Effect.Effect<C, E, R>,
  options: Options<C, E, E2, R2, E3, R3>
): Effect.fn.Return<Reconnecting<E | E2 | E3, C>, never, Scope.Scope | R | R2 | R3> {
  const client = new Client<C, E | E2 | E3>(
    options,
    yield* SubscriptionRef.make<State<E | E2 | E3, C>>({ _tag: "Connecting", attempt: 1 })
  )
  const invalid = checkReconnecting(options)
  const running = invalid === undefined ? runAttempts(client, connect, options) : client.rejectOption(invalid)
  yield* Effect.acquireRelease(
    Effect.forkDetach(Effect.onExit(running, (exit) => client.finish(exit))),
    (fiber, exit) => client.release(fiber, exit)
  )
  const { slot, state } = client
  return {
    state,
    messages: slot.messages,
    send: (message, sendOptions) => slot.sendAll([message], sendOptions),
    sendAll: (messages, sendOptions) => slot.sendAll(messages, sendOptions),
    connection: slot.connection,
    closed: Deferred.await(client.closed)
  }
})

/** What the attempts of a client share, and its end. `E` is all errors of the program's own effects. */
class Client<C extends MessageConnection, E> {
  readonly state: SubscriptionRef.SubscriptionRef<State<E, C>>
  readonly slot: ConnectionSlot<C, E>
  readonly scopes = new AttemptScopes()
  readonly closed = Deferred.makeUnsafe<void, Failure<E>>()

  constructor(
    { whileDisconnected = "suspend" }: Pick<Options, "whileDisconnected">,
    state: SubscriptionRef.SubscriptionRef<State<E, C>>
  ) {
    this.state = state
    this.slot = new ConnectionSlot(whileDisconnected)
  }

  enter(state: State<E, C>): Effect.Effect<void> {
    return SubscriptionRef.set(this.state, state)
  }

  /** Fails before the first attempt. */
  rejectOption(problem: InvalidOption): Effect.Effect<void, InvalidOption> {
    return Effect.suspend(() => {
      this.slot.clear(problem)
      return Effect.fail(problem)
    })
  }

  /** Ends the client, in one step; observers of the state are notified in the returned effect. The first exit counts. */
  finish(exit: Exit.Exit<void, Failure<E>>): Effect.Effect<void> {
    if (!Deferred.doneUnsafe(this.closed, exit)) return Effect.void
    this.slot.close(exit)
    return this.enter({ _tag: "Closed", exit })
  }

  /** Ends the client because its Scope closes, and waits until all its connections are closed. */
  release(fiber: Fiber.Fiber<void, Failure<E>>, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.scopes.end(exit)
      const notified = this.finish(Exit.void)
      // In the same step, so that no connection gets into the slot after the end.
      fiber.interruptUnsafe()
      return Effect.andThen(notified, Effect.andThen(Fiber.await(fiber), this.scopes.closed))
    })
  }
}

/** Attempts to connect until a failure is final or the schedule ends. */
const runAttempts = Effect.fnUntraced(function*<C extends MessageConnection, E, R, E2, R2, E3, R3>(
  client: Client<C, E | E2 | E3>,
  connect: (attempt: number) => Effect.Effect<C, E, R>,
  options: Options<C, E, E2, R2, E3, R3>
) {
  const endsClient = options.isFinal ?? isFinal
  const backoff = yield* makeBackoff<E | E2, E3, R3>(options)
  for (;;) {
    const cause = yield* Effect.flip(client.scopes.run(runConnection(client, backoff, connect, options)))
    client.slot.clear(cause)
    if (endsClient(cause)) return yield* toExit<E | E2 | E3>(cause)
    const delay = yield* backoff.next(cause)
    if (delay === undefined) return yield* toExit<E | E2 | E3>(cause)
    const { attempt } = backoff
    yield* client.enter({ _tag: "Waiting", attempt, cause, delay })
    yield* Effect.sleep(delay)
    yield* client.enter({ _tag: "Connecting", attempt })
  }
})

/** Connects once. Fails with the end of the connection, or with the reason why connecting failed. */
const runConnection = Effect.fnUntraced(function*<C extends MessageConnection, E, R, E2, R2, E3, R3>(
  client: Client<C, E | E2 | E3>,
  backoff: Backoff<E | E2, E3, R3>,
  connect: (attempt: number) => Effect.Effect<C, E, R>,
  { onOpen }: Options<C, E, E2, R2, E3, R3>
): Effect.fn.Return<never, Failure<E | E2>, R | R2> {
  const connection = yield* connect(backoff.attempt)
  const lost = Effect.flatMap(connection.closed, Effect.fail)
  if (onOpen !== undefined) yield* Effect.raceFirst(onOpen(connection), lost)
  yield* client.slot.set(connection)
  backoff.opened()
  yield* client.enter({ _tag: "Open", connection })
  return yield* lost
})
