/** With `slowConsumer: "latest"`, the newest message of each key in memory: it replaces the one before it. */
import type { Entry, PublicationEvent } from "./entry.ts"

export class NewestByKey {
  private readonly key: (data: Uint8Array) => string
  private readonly entries = new Map<string, Entry>()

  constructor(key: (data: Uint8Array) => string) {
    this.key = key
  }

  /** Adds a message, and marks the message of the same key that it replaces. */
  add(entry: Entry): void {
    const { event } = entry
    if (event._tag !== "Publication") return
    const key = this.keyOf(event)
    const older = this.entries.get(key)
    if (older !== undefined && older !== entry) older.isSuperseded = true
    this.entries.set(key, entry)
  }

  /** Removes a message that is no longer in memory. */
  remove(entry: Entry): void {
    if (this.entries.size === 0 || entry.event._tag !== "Publication") return
    const key = this.keyOf(entry.event)
    if (this.entries.get(key) === entry) this.entries.delete(key)
  }

  clear(): void {
    this.entries.clear()
  }

  private keyOf({ data }: PublicationEvent): string {
    return this.key(data)
  }
}
