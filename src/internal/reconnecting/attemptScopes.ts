/** The Scopes of a reconnecting client's attempts, each of which holds one connection. */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"

/**
 * Runs each attempt in a Scope of its own. The next attempt does not wait until
 * the Scope of the last one is closed, but the end of the client does.
 */
export class AttemptScopes {
  private readonly closing = new Set<Fiber.Fiber<void>>()
  private clientExit: Exit.Exit<unknown, unknown> | undefined

  run<A, E, R>(attempt: Effect.Effect<A, E, R>): Effect.Effect<A, E, Exclude<R, Scope.Scope>> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Scope.make(), (scope) =>
        Effect.flatMap(
          Effect.exit(restore(Scope.provide(attempt, scope))),
          (exit) => Effect.andThen(this.close(scope, exit), exit)
        ))
    )
  }

  /** Closes all further Scopes with the exit of the client, and in the attempt's own fiber. */
  end(clientExit: Exit.Exit<unknown, unknown>): void {
    this.clientExit = clientExit
  }

  /** Waits until the Scopes of all attempts that have ended are closed. */
  readonly closed: Effect.Effect<void> = Effect.suspend(() => Fiber.awaitAll(this.closing)).pipe(Effect.asVoid)

  private close(scope: Scope.Closeable, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.clientExit !== undefined) return Scope.close(scope, this.clientExit)
      return Effect.map(Effect.forkDetach(Scope.close(scope, exit), { startImmediately: true }), (fiber) => {
        this.closing.add(fiber)
        fiber.addObserver(() => this.closing.delete(fiber))
      })
    })
  }
}
