/**
 * The memory of all channels: events in order of arrival, under one budget of bytes.
 * When the budget is exceeded, the oldest events of the process are dropped, whatever
 * their channel.
 */
import { LinkedList } from "../runtime/linkedList.ts"
import type { Entry } from "./entry.ts"

export class Budget {
  readonly limit: number
  /** The oldest first. */
  private readonly entries = new LinkedList<Entry>()
  used = 0

  constructor(limit: number) {
    this.limit = limit
  }

  add(entry: Entry): void {
    this.entries.add(entry)
    this.grow(entry.size)
  }

  delete(entry: Entry): void {
    this.entries.delete(entry)
    this.used -= entry.size
  }

  /** Drops the oldest entries until the others fit. The newest one stays, whatever its size. */
  grow(bytes: number): void {
    this.used += bytes
    while (this.used > this.limit && this.entries.size > 1) this.entries.first!.segment!.shift()
  }
}

/** Consecutive events of one channel. Entries are added at the end, and dropped from the beginning. */
export class Segment {
  private readonly budget: Budget
  private readonly onShift: ((entry: Entry) => void) | undefined
  /** Undefined before `head`. */
  private entries: Array<Entry | undefined> = []
  private head = 0

  /** `onShift` learns of each entry that is dropped, with or without its consent. */
  constructor(budget: Budget, onShift?: (entry: Entry) => void) {
    this.budget = budget
    this.onShift = onShift
  }

  get size(): number {
    return this.entries.length - this.head
  }

  get first(): Entry | undefined {
    return this.entries[this.head]
  }

  get last(): Entry | undefined {
    return this.size === 0 ? undefined : this.entries[this.entries.length - 1]
  }

  at(index: number): Entry | undefined {
    return this.entries[this.head + index]
  }

  push(entry: Entry): void {
    entry.segment = this
    this.entries.push(entry)
    this.budget.add(entry)
  }

  /** Drops the first entry. */
  shift(): void {
    const entry = this.entries[this.head]!
    this.budget.delete(entry)
    entry.segment = undefined
    this.entries[this.head++] = undefined
    // Copying is rare enough to cost a constant per entry.
    if (this.head >= 32 && this.head * 2 >= this.entries.length) {
      this.entries = this.entries.slice(this.head)
      this.head = 0
    }
    this.onShift?.(entry)
  }

  clear(): void {
    while (this.size > 0) this.shift()
  }

  /** Counts bytes that an entry has taken since it was added. */
  grow(entry: Entry, bytes: number): void {
    entry.size += bytes
    this.budget.grow(bytes)
  }
}
