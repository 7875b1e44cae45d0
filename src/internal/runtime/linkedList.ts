/**
 * Those who come and go in large numbers: sessions, connections. A Set would do,
 * but for V8: a table that a Set has outgrown goes on pointing to the next one
 * and to what was in it. Once such a table is old, all that follow are kept as
 * if they were in use, until the next full garbage collection; and with them
 * nearly every connection, however short, and what hangs from it.
 */

/** Is a member of one at most. */
export interface Node<A> {
  previous: A | undefined
  next: A | undefined
}

export class LinkedList<A extends Node<A>> {
  private first: A | undefined
  private last: A | undefined
  size = 0

  add(member: A): void {
    member.previous = this.last
    if (this.last === undefined) this.first = member
    else this.last.next = member
    this.last = member
    this.size++
  }

  /** Answers whether it was one. */
  delete(member: A): boolean {
    const { previous, next } = member
    if (previous === undefined && this.first !== member) return false
    if (previous === undefined) this.first = next
    else previous.next = next
    if (next === undefined) this.last = previous
    else next.previous = previous
    // Whoever is gone must not keep those who are still there.
    member.previous = undefined
    member.next = undefined
    this.size--
    return true
  }

  /** Those who are there now, in the order in which they came. */
  [Symbol.iterator](): IterableIterator<A> {
    const all: Array<A> = []
    for (let member = this.first; member !== undefined; member = member.next) all.push(member)
    return all.values()
  }
}
