/** A value that is set once. It allocates a Deferred only when a fiber waits for it: for most connections none does. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

export class OneShot<A> {
  private value: A | undefined
  private deferred: Deferred.Deferred<A> | undefined
  /** Whether a program has asked for the value, or has learned it in another way. */
  isObserved = false

  set(value: A): void {
    this.value = value
    if (this.deferred !== undefined) Deferred.doneUnsafe(this.deferred, Exit.succeed(value))
  }

  get await(): Effect.Effect<A> {
    return Effect.suspend(() => {
      this.isObserved = true
      if (this.value !== undefined) return Effect.succeed(this.value)
      this.deferred ??= Deferred.makeUnsafe()
      return Deferred.await(this.deferred)
    })
  }
}
