/** A session that is being opened, for all fibers that wait for it. It is given up when none does any more. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { Duplex } from "node:stream"
import type { ClientSession } from "./clientSession.ts"

/** What opening leads to. `scope` has what belongs to the socket, and is closed after the socket. */
export type Opened =
  | { readonly _tag: "Session"; readonly session: ClientSession }
  /** The server has negotiated HTTP/1.1 in TLS. The socket can carry one request. */
  | { readonly _tag: "Http1"; readonly socket: Duplex; readonly scope: Scope.Closeable }
  /** The server speaks HTTP/2, and does not allow extended CONNECT. */
  | { readonly _tag: "NoConnect" }

/** What a fiber gets: the session, which it may share, or the socket, which the first fiber gets. */
export type Way =
  | { readonly _tag: "Session"; readonly session: ClientSession }
  | { readonly _tag: "Http1"; readonly socket: Duplex | undefined }
  | { readonly _tag: "NoConnect" }

export class Opening<Progress, E> {
  /** What the fibers that wait want to know. */
  readonly progress: Progress
  /** Whether it was given up: a fiber that needs a session opens another one. */
  isGivenUp = false
  private waiting = 0
  private readonly result = Deferred.makeUnsafe<Opened, E>()
  private fiber: Fiber.Fiber<Opened, E> | undefined
  /** A socket that no fiber has taken. */
  private spare: Extract<Opened, { readonly _tag: "Http1" }> | undefined

  constructor(progress: Progress) {
    this.progress = progress
  }

  /** Opens in a fiber of its own, because the fiber that needed it first may be interrupted. */
  start(open: Effect.Effect<Opened, E>, onDone: (exit: Exit.Exit<Opened, E>) => void): Effect.Effect<void> {
    const opening = Effect.onExit(Effect.interruptible(open), (exit) =>
      Effect.sync(() => {
        if (Exit.isSuccess(exit) && exit.value._tag === "Http1") this.spare = exit.value
        onDone(exit)
        Deferred.doneUnsafe(this.result, exit)
      }))
    // An interrupted fiber that has not started would not call `onDone`.
    return Effect.map(Effect.forkDetach(opening, { startImmediately: true }), (fiber) => {
      this.fiber = fiber
    })
  }

  /** Waits for the result. The caller is not interruptible, so that `own` gets a socket that was taken. */
  join(
    restore: <A, E2, R>(effect: Effect.Effect<A, E2, R>) => Effect.Effect<A, E2, R>,
    own: (socket: Duplex) => void
  ): Effect.Effect<Way, E, Scope.Scope> {
    return Effect.suspend(() => {
      this.waiting++
      return restore(Deferred.await(this.result)).pipe(
        Effect.flatMap((opened) => opened._tag === "Http1" ? this.take(own) : Effect.succeed<Way>(opened)),
        Effect.onExit(() => this.leave)
      )
    })
  }

  private take(own: (socket: Duplex) => void): Effect.Effect<Way, never, Scope.Scope> {
    return Effect.suspend(() => {
      const { spare } = this
      this.spare = undefined
      if (spare === undefined) return Effect.succeed<Way>({ _tag: "Http1", socket: undefined })
      own(spare.socket)
      return Effect.as(
        Effect.addFinalizer((exit) => Scope.close(spare.scope, exit)),
        { _tag: "Http1" as const, socket: spare.socket }
      )
    })
  }

  /** A fiber does not wait any more. The last one gives up what was opened for nothing. */
  private get leave(): Effect.Effect<void> {
    return Effect.suspend(() => --this.waiting > 0 ? Effect.void : this.giveUp)
  }

  get giveUp(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { fiber, spare } = this
      this.isGivenUp = true
      this.spare = undefined
      spare?.socket.destroy()
      return Effect.andThen(
        fiber === undefined ? Effect.void : Fiber.interrupt(fiber),
        spare === undefined ? Effect.void : Scope.close(spare.scope, Exit.void)
      )
    })
  }
}
