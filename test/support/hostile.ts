/** Values of unknown type that throw when they are read, or are not what a message expects. */

const fail = () => {
  throw new Error("this value must not be read")
}

const revoked = (() => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
})()

const throwingTraps = new Proxy({}, {
  get: fail,
  has: fail,
  ownKeys: fail,
  getPrototypeOf: fail,
  getOwnPropertyDescriptor: fail
})

const roots: ReadonlyArray<readonly [name: string, value: unknown]> = [
  ["undefined", undefined],
  ["null", null],
  ["an empty text", ""],
  ["a symbol", Symbol("s")],
  ["a bigint", 1n],
  ["an object without a prototype", Object.create(null)],
  ["an object whose toString throws", { toString: fail, [Symbol.toPrimitive]: fail }],
  ["an object whose toString returns an object", { toString: () => ({}), valueOf: () => ({}) }],
  ["an object whose toJSON throws", { toJSON: fail }],
  ["an object with a tag that throws", Object.defineProperty({}, Symbol.toStringTag, { get: fail })],
  ["an object that Node cannot inspect", { [Symbol.for("nodejs.util.inspect.custom")]: fail }],
  ["an object whose constructor throws", Object.defineProperty({}, "constructor", { get: fail })],
  ["a function whose toString throws", Object.assign(() => {}, { toString: fail })],
  ["a revoked Proxy", revoked],
  ["a Proxy whose traps throw", throwingTraps],
  ...["message", "name", "stack", "code", "cause"].map((field) =>
    [`an error whose ${field} throws`, Object.defineProperty(new Error("e"), field, { get: fail })] as const
  ),
  ["an AggregateError whose errors throw", Object.defineProperty(new AggregateError([]), "errors", { get: fail })],
  ["an AggregateError without errors", Object.assign(new AggregateError([]), { errors: undefined })]
]

/** Each of them alone, and as a part of an error. */
export const hostileValues: ReadonlyArray<readonly [name: string, value: unknown]> = roots.flatMap(([name, value]) => [
  [name, value],
  [`an error whose message is ${name}`, Object.assign(new Error("e"), { message: value })],
  [`an error whose name is ${name}`, Object.assign(new Error(""), { name: value })],
  [`an error whose cause is ${name}`, new Error("e", { cause: value })],
  [`an object whose message is ${name}`, { message: value }],
  [`an AggregateError of ${name}`, new AggregateError([value])]
])
