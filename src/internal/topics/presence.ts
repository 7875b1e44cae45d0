/** The members that this process has added. A member that was added several times leaves with the last of them. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type * as Broker from "../../Broker.ts"
import { equalBytes } from "#platform"

interface Added {
  /** How many times it was added and has not left. */
  count: number
  /** What the broker has. Undefined until it has confirmed a member. */
  info: Uint8Array | undefined
}

export class Presence {
  private readonly broker: Broker.Broker
  private readonly added = new Map<string, Added>()

  constructor(broker: Broker.Broker) {
    this.broker = broker
  }

  /**
   * Adds a member until the Scope closes. One that the broker has already is only counted. If adding
   * fails or is interrupted, the broker is told that the member leaves, because it may have been added.
   */
  join(channel: string, member: Broker.Member): Effect.Effect<void, Broker.BrokerUnavailable, Scope.Scope> {
    const { id, info } = member
    const key = JSON.stringify([channel, id])
    const leave = Effect.suspend(() => {
      const added = this.added.get(key)!
      if (--added.count > 0) return Effect.void
      this.added.delete(key)
      // The broker renews the member no longer, even if it cannot be told.
      return Effect.ignore(this.broker.leave(channel, id))
    })
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Scope.Scope, (scope) => {
        const added = this.added.get(key) ?? { count: 0, info: undefined }
        added.count++
        this.added.set(key, added)
        if (added.info !== undefined && equalBytes(added.info, info)) return Scope.addFinalizer(scope, leave)
        return restore(this.broker.join(channel, member)).pipe(
          Effect.onExit((exit) => {
            if (Exit.isFailure(exit)) return leave
            added.info = info
            return Scope.addFinalizer(scope, leave)
          })
        )
      })
    )
  }
}
