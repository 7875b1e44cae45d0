/** Section 9 of the Autobahn TestSuite, by its numbers: limits and performance, here without the clock. */
import { answered, binary, echoed, type Exchange, fragments, type Section, type Step, text } from "../case.ts"

const KiB = 1024
const MiB = 1024 * KiB

const named = (size: number): string =>
  size >= MiB ? `${size / MiB} MiB` : size >= KiB ? `${size / KiB} KiB` : `${size} bytes`

/** Payloads share their bytes: each is the beginning of one long one. */
const filler = (length: number, pattern: string | Buffer) => {
  const whole = Buffer.alloc(length, pattern)
  return (size: number) => whole.subarray(0, size)
}

const kinds = [
  { make: text, name: "text", fill: filler(16 * MiB, "BAsd7&jh23"), ids: ["9.1", "9.3", "9.5", "9.7"] },
  {
    make: binary,
    name: "binary",
    fill: filler(16 * MiB, Buffer.of(0x00, 0xfe, 0x23, 0xfa, 0xf0)),
    ids: ["9.2", "9.4", "9.6", "9.8"]
  }
] as const

const messageSizes = [64 * KiB, 256 * KiB, MiB, 4 * MiB, 8 * MiB, 16 * MiB]
const fragmentSizes = [64, 256, KiB, 4 * KiB, 16 * KiB, 64 * KiB, 256 * KiB, MiB, 4 * MiB]
const chopSizes = [64, 128, 256, 512, KiB, 2 * KiB]
const roundTripSizes = [0, 16, 64, 256, KiB, 4 * KiB]

/** In the order of Autobahn's numbers: for each measure text, then binary. */
const cases: ReadonlyArray<Exchange> = [
  ...kinds.flatMap(({ fill, ids, make, name }) =>
    messageSizes.map((size, i) => {
      const message = make(fill(size))
      return echoed(`${ids[0]}.${i + 1}`, `a ${name} message of ${named(size)}`, [message], [message])
    })
  ),
  ...kinds.flatMap(({ fill, ids, make, name }) =>
    fragmentSizes.map((size, i) => {
      const payload = fill(4 * MiB)
      const about = `a ${name} message of 4 MiB in fragments of ${named(size)}`
      return echoed(`${ids[1]}.${i + 1}`, about, fragments(make, payload, size), [make(payload)])
    })
  ),
  ...kinds.flatMap(({ fill, ids, make, name }) =>
    chopSizes.map((chop, i) => {
      const message = make(fill(MiB))
      return echoed(
        `${ids[2]}.${i + 1}`,
        `a ${name} message of 1 MiB, ${named(chop)} at a time`,
        [message],
        [message],
        {
          chop
        }
      )
    })
  ),
  ...kinds.flatMap(({ fill, ids, make, name }) =>
    roundTripSizes.map((size, i) => {
      const message = make(fill(size))
      const rounds = Array.from(
        { length: 1000 },
        (_, n): ReadonlyArray<Step> => [{ send: [message] }, { until: n + 1 }]
      )
      const about = `1000 ${name} messages of ${named(size)}, each after the echo of the last`
      return answered(`${ids[3]}.${i + 1}`, about, rounds.flat(), rounds.map(() => message))
    })
  )
]

export const limits: Section = { id: "9", title: "Limits", cases }
