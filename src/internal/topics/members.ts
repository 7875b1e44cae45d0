/** The members of a channel, as of the newest change that this process has received. */
import type * as Broker from "../../Broker.ts"
import { equalBytes } from "#platform"
import type { Position } from "../../Topic.ts"
import type { PresenceEvent } from "./entry.ts"

export class Members {
  private readonly byId = new Map<string, Broker.Member>()
  private version = 0

  get all(): ReadonlyArray<Broker.Member> {
    return [...this.byId.values()]
  }

  /** Applies a change. Returns "old" if it is known already, "missing" if changes before it were lost. */
  apply(change: PresenceEvent): "applied" | "old" | "missing" {
    if (change.version <= this.version) return "old"
    if (change.version > this.version + 1) return "missing"
    this.version = change.version
    this.change(change)
    return "applied"
  }

  private change({ _tag, id, info }: PresenceEvent): void {
    if (_tag === "Joined") this.byId.set(id, { id, info })
    else this.byId.delete(id)
  }

  /** Takes over a snapshot, and returns the changes that lead to it. */
  replace({ members, version }: Broker.Members, { epoch, offset }: Position): ReadonlyArray<PresenceEvent> {
    this.version = version
    const present = new Set(members.map(({ id }) => id))
    const left = [...this.byId.values()].filter(({ id }) => !present.has(id))
    const joined = members.filter(({ id, info }) => {
      const known = this.byId.get(id)
      return known === undefined || !equalBytes(known.info, info)
    })
    const event = (_tag: "Joined" | "Left") => ({ id, info }: Broker.Member): PresenceEvent => ({
      _tag,
      epoch,
      offset,
      version,
      id,
      info
    })
    const changes = [...left.map(event("Left")), ...joined.map(event("Joined"))]
    for (const change of changes) this.change(change)
    return changes
  }
}
