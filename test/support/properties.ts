/** What property tests have in common: generators, ways to cut bytes, and slow answers that are plain to see. */
import { Arbitrary, Schema } from "effect"
import { Frame } from "effect-ws"
import { isUtf8 } from "node:buffer"

export const integer = (minimum: number, maximum: number): Arbitrary.Arbitrary<number> =>
  Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum, maximum })))

export const anyBoolean: Arbitrary.Arbitrary<boolean> = Arbitrary.schema(Schema.Boolean)

/** One of several values. */
export const among = <A>(...values: ReadonlyArray<A>): Arbitrary.Arbitrary<A> =>
  Arbitrary.map(integer(0, values.length - 1), (i) => values[i])

/** A value of one of several kinds. */
export const either = <A>(...kinds: ReadonlyArray<Arbitrary.Arbitrary<A>>): Arbitrary.Arbitrary<A> =>
  Arbitrary.flatMap(integer(0, kinds.length - 1), (i) => kinds[i])

export const anyBytes = (options?: Arbitrary.ArrayOptions): Arbitrary.Arbitrary<Uint8Array> =>
  Arbitrary.map(Arbitrary.array(integer(0, 255), options), (values) => Uint8Array.from(values))

/** Bytes that differ from their neighbours, and from those of another seed. */
export const patterned = (length: number, seed = 0): Uint8Array => {
  const bytes = new Uint8Array(length)
  for (let i = 0; i < length; i++) bytes[i] = i * 31 + (i >>> 8) * 7 + seed
  return bytes
}

/** Bytes of any length, and often of one at which something changes. */
export const anyPayload: Arbitrary.Arbitrary<Uint8Array> = either(
  anyBytes(),
  Arbitrary.map(
    Arbitrary.all([among(0, 1, 47, 48, 49, 125, 126, 127, 4095, 4096, 8193, 65535, 65536, 70000), integer(0, 255)]),
    ([length, seed]) => patterned(length, seed)
  )
)

export const anyMaskKey: Arbitrary.Arbitrary<number> = integer(-(2 ** 31), 2 ** 31 - 1)

/** Any frame that the protocol allows, with reserved bits. */
export const anyFrame: Arbitrary.Arbitrary<Frame.Frame> = either(
  Arbitrary.map(
    Arbitrary.all([
      among(Frame.Opcode.Continuation, Frame.Opcode.Text, Frame.Opcode.Binary),
      anyPayload,
      anyBoolean,
      integer(0, 7)
    ]),
    ([opcode, payload, fin, reserved]) => new Frame.Frame(opcode, payload, fin, reserved)
  ),
  Arbitrary.map(
    Arbitrary.all([
      among(Frame.Opcode.Close, Frame.Opcode.Ping, Frame.Opcode.Pong),
      either(anyBytes({ maxLength: 125 }), Arbitrary.map(integer(0, 125), patterned)),
      integer(0, 7)
    ]),
    ([opcode, payload, reserved]) => new Frame.Frame(opcode, payload, true, reserved)
  )
)

/** Text with code points of each size, those at the edges of the ranges among them. */
export const anyText: Arbitrary.Arbitrary<string> = Arbitrary.map(
  Arbitrary.array(
    among(
      ..."aZ \0",
      "\x7f",
      "\x80",
      "é",
      "\u07ff",
      "\u0800",
      "€",
      "\ud7ff",
      "\ue000",
      "\ufeff",
      "\uffff",
      "\u{10000}",
      "😀",
      "\u{10ffff}",
      "lorem ipsum ".repeat(8)
    )
  ),
  (parts) => parts.join("")
)

/** Bytes that are nearly UTF-8: text, with parts of code points and impossible bytes in some places. */
export const anyNearlyUtf8: Arbitrary.Arbitrary<Uint8Array> = Arbitrary.map(
  Arbitrary.array(either<Uint8Array>(
    Arbitrary.map(anyText, (text) => new TextEncoder().encode(text)),
    Arbitrary.map(anyText, (text) => new TextEncoder().encode(text)),
    Arbitrary.map(
      Arbitrary.array(
        among(0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xed, 0xef, 0xf0, 0xf4, 0xf5, 0xff),
        { maxLength: 3 }
      ),
      (values) => Uint8Array.from(values)
    )
  )),
  (parts) => Uint8Array.from(Buffer.concat(parts))
)

/** Where to cut bytes: taken modulo one more than their length. */
export const anyCuts: Arbitrary.Arbitrary<Array<number>> = Arbitrary.array(integer(0, 0xffff))

/** The bytes in pieces, each a copy. */
export const cutAt = (bytes: Uint8Array, cuts: ReadonlyArray<number>): Array<Uint8Array> => {
  const places = [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].toSorted((a, b) => a - b)
  return places.map((to, i) => Uint8Array.from(bytes.subarray(i === 0 ? 0 : places[i - 1], to)))
}

const endings = [
  [],
  ...[0x80, 0x9f, 0xa0, 0xbf].flatMap((second) => [[second], [second, 0x80], [second, 0x80, 0x80]])
].map((ending) => Uint8Array.from(ending))

/** Whether some text begins with these bytes: what an unfinished code point lacks is tried out. */
export const beginsText = (bytes: Uint8Array): boolean =>
  endings.some((ending) => isUtf8(Buffer.concat([bytes, ending])))

/** The index of the first byte at which these bytes are no longer the beginning of any text, or -1. */
export const firstImpossible = (bytes: Uint8Array): number => {
  for (let i = 0; i < bytes.length; i++) {
    if (!beginsText(bytes.subarray(0, i + 1))) return i
  }
  return -1
}
