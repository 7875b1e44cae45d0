import { assert, describe, it } from "@effect/vitest"
import { CloseCode } from "effect-ws"

describe("the registry (RFC 6455 §7.4.1, §11.7)", () => {
  it("holds every registered code under its name, in order", () => {
    assert.deepStrictEqual(CloseCode.registry.map(({ code, name }) => [code, name]), [
      [1000, "NormalClosure"],
      [1001, "GoingAway"],
      [1002, "ProtocolError"],
      [1003, "UnsupportedData"],
      [1004, "Reserved"],
      [1005, "NoStatusReceived"],
      [1006, "AbnormalClosure"],
      [1007, "InvalidPayloadData"],
      [1008, "PolicyViolation"],
      [1009, "MessageTooBig"],
      [1010, "MandatoryExtension"],
      [1011, "InternalError"],
      [1012, "ServiceRestart"],
      [1013, "TryAgainLater"],
      [1014, "BadGateway"],
      [1015, "TlsHandshake"],
      [3000, "Unauthorized"],
      [3003, "Forbidden"],
      [3008, "Timeout"]
    ])
  })

  it("gives each code as a constant of its name", () => {
    const constants = CloseCode as unknown as Record<string, unknown>
    for (const { code, name } of CloseCode.registry) {
      if (name !== "Reserved") assert.strictEqual(constants[name], code, name)
    }
  })

  it("describes each code in words of its own", () => {
    const descriptions = CloseCode.registry.map((entry) => entry.description)
    assert.strictEqual(new Set(descriptions).size, CloseCode.registry.length)
    for (const description of descriptions) assert.match(description, /^[a-z][A-Za-z ,]+[a-z]$/)
  })

  it("says which codes may be on the wire", () => {
    assert.deepStrictEqual(
      CloseCode.registry.filter((entry) => !entry.onWire).map((entry) => entry.code),
      [1004, 1005, 1006, 1015]
    )
    for (const { code, onWire } of CloseCode.registry) assert.strictEqual(CloseCode.isSendable(code), onWire, `${code}`)
  })
})

describe("isSendable (RFC 6455 §7.4.2)", () => {
  it("holds for registered codes and for 3000 to 4999, of all 16-bit numbers", () => {
    const ranges = [[1000, 1003], [1007, 1014], [3000, 4999]]
    for (let code = 0; code <= 0xffff; code++) {
      const expected = ranges.some(([from, to]) => code >= from && code <= to)
      if (CloseCode.isSendable(code) !== expected) assert.fail(`${code}`)
    }
  })

  for (const code of [-1, -1000, 1000.5, 3000.5, 4999.5, 65536 + 1000, NaN, Infinity, -Infinity]) {
    it(`does not hold for ${code}`, () => {
      assert.isFalse(CloseCode.isSendable(code))
    })
  }
})

describe("isNormal", () => {
  it("holds for 1000, 1001 and 1005 alone", () => {
    const normal = Array.from({ length: 0x10000 }, (_, code) => code).filter(CloseCode.isNormal)
    assert.deepStrictEqual(normal, [1000, 1001, 1005])
  })
})

describe("nameOf", () => {
  for (const { code, name } of CloseCode.registry) {
    it(`${code} is ${name}`, () => {
      assert.strictEqual(CloseCode.nameOf(code), name)
    })
  }

  for (
    const [code, name] of [
      [-1, "Unassigned"],
      [0, "Unassigned"],
      [999, "Unassigned"],
      [1016, "Unassigned"],
      [2999, "Unassigned"],
      [3001, "Library"],
      [3999, "Library"],
      [4000, "Application"],
      [4999, "Application"],
      [5000, "Unassigned"],
      [65535, "Unassigned"]
    ] as const
  ) {
    it(`${code} is ${name}`, () => {
      assert.strictEqual(CloseCode.nameOf(code), name)
    })
  }
})
