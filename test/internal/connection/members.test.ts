import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import {
  assertMembers,
  assertMessageConnection,
  hasMembers,
  messageConnectionMembers
} from "../../../src/internal/connection/members.ts"
import { makePair } from "../../support/memory.ts"

describe("hasMembers", () => {
  it("accepts objects with all members, inherited ones too", () => {
    const object = Object.create({ a: 1 }, { b: { value: undefined } }) as object
    assert.isTrue(hasMembers(object, ["a", "b"]))
    assert.isFalse(hasMembers(object, ["a", "c"]))
    for (const value of [undefined, null, 1, "a", () => 1]) assert.isFalse(hasMembers(value, []))
  })
})

describe("assertMembers", () => {
  it("throws a TypeError that names the missing members and what to change", () => {
    assertMembers({ a: 1, b: 2 }, "Thing", ["a", "b"])
    assert.throws(
      () => assertMembers({ a: 1 }, "Thing", ["a", "b", "c"], "; use another"),
      TypeError,
      "connection: expected a Thing, got an object without b, c; use another"
    )
    assert.throws(() => assertMembers(null, "Thing", []), TypeError, "connection: expected a Thing, got null")
    const text = Object.assign(() => {}, { toString: () => assert.fail("a function of the value was called") })
    assert.throws(() => assertMembers(text, "Thing", []), TypeError, "connection: expected a Thing, got a function")
  })
})

describe("assertMessageConnection", () => {
  it.effect("accepts a connection, and throws for an object that lacks any of its members", () =>
    Effect.gen(function*() {
      const { client } = yield* makePair()
      assertMessageConnection(client)
      const whole = Object.fromEntries(messageConnectionMembers.map((name) => [name, undefined]))
      assertMessageConnection(whole)
      for (const name of messageConnectionMembers) {
        const { [name]: _, ...rest } = whole
        assert.throws(
          () => assertMessageConnection(rest),
          `connection: expected a MessageConnection, got an object without ${name}`
        )
      }
    }))
})
