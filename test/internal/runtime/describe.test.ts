import { runInNewContext } from "node:vm"
import { assert, describe, it } from "vitest"
import { codeOf, errorsOf, fieldOf, reasonOf, textOf, toError } from "../../../src/internal/runtime/describe.ts"
import { hostileValues } from "../../support/hostile.ts"

describe("reasonOf", () => {
  const cases: ReadonlyArray<readonly [what: string, cause: unknown, reason: string]> = [
    ["the message of an error", new TypeError("boom"), "boom"],
    ["the message of an error of another realm", runInNewContext("new Error('boom')"), "boom"],
    ["the message of an object that is no error", { message: "boom" }, "boom"],
    ["a text", "boom", "boom"],
    ["a number", 5, "5"],
    ["undefined", undefined, "undefined"],
    ["an object", { code: 5 }, "{ code: 5 }"],
    ["an object whose message is no text", { message: 5 }, "{ message: 5 }"],
    ["an object without a prototype", Object.create(null), "[Object: null prototype] {}"],
    ["the name of an error with an empty message", new RangeError(""), "RangeError"],
    ["all errors of an AggregateError", new AggregateError([new Error("a"), "b", 3], "several"), "a, b, 3"],
    ["the message of an AggregateError without errors", new AggregateError([], "none"), "none"],
    [
      "library and reason of an error of OpenSSL",
      new Error("C0:error:0A00010B:SSL routines:ssl3_get_record:wrong version number:../ssl3_record.c:354:"),
      "SSL: wrong version number"
    ]
  ]
  for (const [what, cause, reason] of cases) {
    it(`says ${what}`, () => assert.strictEqual(reasonOf(cause), reason))
  }

  it("says the code of an error with an empty message, and no code of others", () => {
    assert.strictEqual(reasonOf(new Error(" "), "EPIPE"), "EPIPE")
    assert.strictEqual(reasonOf(new AggregateError([new Error(""), new Error("")]), "EPIPE"), "EPIPE")
    assert.strictEqual(reasonOf(new AggregateError([new Error(""), new Error("boom")]), "EPIPE"), "boom")
    assert.strictEqual(reasonOf(new Error("boom"), "EPIPE"), "boom")
  })
})

describe("toError", () => {
  it("returns an error as it is", () => {
    const error = new TypeError("boom")
    assert.strictEqual(toError(error), error)
  })

  it("returns an error with the reason and the value as its cause for any other value", () => {
    for (const [value, message] of [["boom", "boom"], [{ message: "boom" }, "boom"], [undefined, "undefined"]]) {
      const error = toError(value)
      assert.deepStrictEqual([error.message, error.cause], [message, value])
    }
  })
})

describe("codeOf", () => {
  it("returns the code of the system, and no code of another type", () => {
    assert.strictEqual(codeOf(Object.assign(new Error("e"), { code: "EPIPE" })), "EPIPE")
    for (const value of [new Error("e"), { code: 5 }, "EPIPE", undefined]) assert.isUndefined(codeOf(value))
  })
})

describe("errorsOf", () => {
  it("returns the errors of an AggregateError, and any other value alone", () => {
    assert.deepStrictEqual(errorsOf(new AggregateError([1, 2])), [1, 2])
    const empty = new AggregateError([])
    for (const value of [empty, { errors: [1] }, undefined]) assert.deepStrictEqual(errorsOf(value), [value])
  })
})

describe("textOf", () => {
  it("returns a text as it is, and the text of an object that has one", () => {
    assert.strictEqual(textOf("wss://a/"), "wss://a/")
    assert.strictEqual(textOf(new URL("wss://a/b")), "wss://a/b")
  })
})

describe("a value that throws when it is read", () => {
  for (const [name, value] of hostileValues) {
    it(`${name} has a reason, a text and an error`, () => {
      assert.isString(reasonOf(value))
      assert.isString(reasonOf(value, "EPIPE"))
      assert.isString(textOf(value))
      assert.include(["string", "undefined"], typeof codeOf(value))
      assert.isAbove(errorsOf(value).length, 0)
      fieldOf(value, "stack")
      assert.instanceOf(toError(value), Error)
    })
  }
})
