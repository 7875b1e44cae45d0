/**
 * Handles each message of a feed once, over many connections.
 *
 * Messages are read in order, one connection after the other, and each connection was asked for all behind a position that
 * is not behind the current one. So a message at or before the current position was handled, and the first one behind it
 * is the next.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Semaphore from "effect/Semaphore"
import type { NotConnected } from "../../ConnectionError.ts"
import type * as Resume from "../../Resume.ts"

/** The source is closed, and has no more messages. A handler may fail with `NotConnected` as well, which is another matter. */
const ended = Symbol("ended")

type Ended = typeof ended
type Failure<E> = Exclude<E, NotConnected<any>>

const endOr = <E>(error: E): Failure<E> | Ended =>
  Predicate.isTagged(error, "NotConnected") ? ended : error as Failure<E>

export class Resumption<A, P> implements Resume.Resume<A, P> {
  private readonly options: Resume.Options<A, P>
  private handled: Option.Option<P>
  /** A message that was received and not handled: its handler failed, or was interrupted. */
  private inHand: Option.Option<A> = Option.none()
  private readonly turn = Semaphore.makeUnsafe(1)

  constructor(options: Resume.Options<A, P>) {
    this.options = options
    this.handled = Option.fromUndefinedOr(options.initial)
  }

  readonly position: Effect.Effect<Option.Option<P>> = Effect.sync(() => this.handled)

  readonly onOpen: Resume.Resume<A, P>["onOpen"] = (subscribe) => (connection) =>
    Effect.suspend(() => subscribe(connection, this.handled))

  readonly runForEach: Resume.Resume<A, P>["runForEach"] = <B extends A, E1, E2, E, R>(
    source: Resume.Source<B, E1, E2>,
    handle: (message: B) => Effect.Effect<unknown, E, R>
  ) =>
    this.turn.withPermit(this.handleNext(source, handle)).pipe(
      Effect.forever,
      Effect.catch((error): Effect.Effect<void, Failure<E1> | E2 | E> =>
        error === ended ? source.closed : Effect.fail(error)
      )
    )

  /** Receives a message unless one is in hand, and handles it. No interruption comes between a message and its position. */
  private handleNext<B extends A, E1, E, R>(
    { receive }: Pick<Resume.Source<B, E1, never>, "receive">,
    handle: (message: B) => Effect.Effect<unknown, E, R>
  ): Effect.Effect<void, Failure<E1> | Ended | E, R> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(
        Effect.suspend(() =>
          // The sources of one feed have the same messages.
          Option.isSome(this.inHand) ? Effect.succeed(this.inHand.value as B) : Effect.mapError(restore(receive), endOr)
        ),
        (message) => {
          this.inHand = Option.some(message)
          const position = this.options.position(message)
          if (!this.isNew(position)) {
            this.inHand = Option.none()
            return Effect.void
          }
          return Effect.map(handle(message), () => {
            this.inHand = Option.none()
            if (Option.isSome(position)) this.handled = position
          })
        }
      )
    )
  }

  private isNew(position: Option.Option<P>): boolean {
    if (Option.isNone(position) || Option.isNone(this.handled)) return true
    const { isAfter = isGreater } = this.options
    return isAfter(position.value, this.handled.value)
  }
}

const isGreater = <P>(position: P, handled: P): boolean => position > handled
