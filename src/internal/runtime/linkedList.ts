/**
 * A doubly linked list, for members that are added and removed in large numbers:
 * sessions, connections, readers. A Set has the same operations, but in V8 a table
 * that a Set has outgrown still points to the next table and to its members. Once
 * such a table is in the old generation, all that follow it are retained until the
 * next full garbage collection, and with them most connections.
 */

/** A member of at most one list. */
export interface Node<A> {
  previous: A | undefined
  next: A | undefined
}

export class LinkedList<A extends Node<A>> {
  first: A | undefined
  private last: A | undefined
  size = 0

  add(member: A): void {
    member.previous = this.last
    if (this.last === undefined) this.first = member
    else this.last.next = member
    this.last = member
    this.size++
  }

  /** Removes a member. Returns false if it is not in the list. */
  delete(member: A): boolean {
    const { previous, next } = member
    if (previous === undefined && this.first !== member) return false
    if (previous === undefined) this.first = next
    else previous.next = next
    if (next === undefined) this.last = previous
    else next.previous = previous
    // A removed member must not retain the others.
    member.previous = undefined
    member.next = undefined
    this.size--
    return true
  }

  /** Iterates over the members that are in the list now, in insertion order, even if some are removed meanwhile. */
  [Symbol.iterator](): IterableIterator<A> {
    const all: Array<A> = []
    for (let member = this.first; member !== undefined; member = member.next) all.push(member)
    return all.values()
  }
}
