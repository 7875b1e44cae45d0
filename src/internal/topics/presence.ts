/** The members that this process has added. A member that was added several times leaves with the last of them. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type * as Broker from "../../Broker.ts"

export class Presence {
  private readonly broker: Broker.Broker
  private readonly counts = new Map<string, number>()

  constructor(broker: Broker.Broker) {
    this.broker = broker
  }

  /**
   * Adds a member until the Scope closes. If adding fails or is interrupted, the broker is told that
   * the member leaves, because it may have been added.
   */
  join(channel: string, member: Broker.Member): Effect.Effect<void, Broker.BrokerUnavailable, Scope.Scope> {
    const { id } = member
    const key = JSON.stringify([channel, id])
    const leave = Effect.suspend(() => {
      const count = this.counts.get(key)! - 1
      if (count > 0) {
        this.counts.set(key, count)
        return Effect.void
      }
      this.counts.delete(key)
      // The broker renews the member no longer, even if it cannot be told.
      return Effect.ignore(this.broker.leave(channel, id))
    })
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Scope.Scope, (scope) => {
        this.counts.set(key, (this.counts.get(key) ?? 0) + 1)
        return restore(this.broker.join(channel, member)).pipe(
          Effect.onExit((exit) => Exit.isSuccess(exit) ? Scope.addFinalizer(scope, leave) : leave)
        )
      })
    )
  }
}
