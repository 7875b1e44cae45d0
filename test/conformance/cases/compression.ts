/** Sections 12 and 13 of the Autobahn TestSuite, by its numbers: permessage-deflate (RFC 7692). */
import type { Compressed, Section } from "../case.ts"
import { opcodes } from "../wire.ts"

// -----------------------------------------------------------------------------
// What is compressed: made up here, as large and of about the same kinds as Autobahn's files
// -----------------------------------------------------------------------------

/** Numbers that look like chance, and are the same each time (mulberry32): below `limit`. */
const chance = (seed: number) => (limit: number): number => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return Math.floor(((t ^ (t >>> 14)) >>> 0) / 2 ** 32 * limit)
}

type Chance = ReturnType<typeof chance>

const pick = <A>(next: Chance, from: ReadonlyArray<A>): A => from[next(from.length)]

/** Words, the earlier the more often, as in a language. */
const vocabulary = (next: Chance, size: number): () => string => {
  const syllables = [
    "ge",
    "be",
    "ver",
    "lich",
    "schön",
    "geist",
    "über",
    "na",
    "tur",
    "welt",
    "ach",
    "faß",
    "ich",
    "er"
  ]
  const words = Array.from(
    { length: size },
    () => Array.from({ length: 1 + next(3) }, () => pick(next, syllables)).join("")
  )
  return () => words[Math.floor(size * (next(1000) / 1000) ** 3)]
}

const prose = (next: Chance, length: number): string => {
  const word = vocabulary(next, 4000)
  let all = ""
  while (all.length < length) {
    const line = Array.from({ length: 4 + next(6) }, word).join(" ")
    all += `${line[0].toUpperCase()}${line.slice(1)}${pick(next, [",", ".", "!", ";", ""])}\r\n`
  }
  return all
}

const json = (next: Chance, length: number): string => {
  const word = vocabulary(next, 2000)
  const all: Array<unknown> = []
  for (let size = 0; size < length; size += 200) {
    all.push({
      id: next(1e9).toString(16),
      name: `${word()} ${word()}`,
      price: next(100_000) / 100,
      active: next(2) === 0,
      tags: Array.from({ length: next(5) }, word),
      symbol: pick(next, ["€", "£", "日本", "—"]),
      where: { latitude: next(180_000) / 1000 - 90, longitude: next(360_000) / 1000 - 180 }
    })
  }
  return JSON.stringify(all, undefined, 1)
}

const html = (next: Chance, length: number): string => {
  const word = vocabulary(next, 3000)
  let all = "<!DOCTYPE html>\n<html><head><title>HTML</title></head><body>\n"
  while (all.length < length) {
    const about = Array.from({ length: 5 + next(30) }, word).join(" ")
    all += `<div class="entry ${word()}"><h2><a href="/${word()}/${
      next(10_000)
    }">${word()}</a></h2><p>${about}</p></div>\n`
  }
  return all
}

/** Rows of greys that go up and down, with some noise. */
const picture = (next: Chance, length: number): Buffer => {
  const all = Buffer.alloc(length)
  for (let i = 0; i < length; i++) {
    const [x, y] = [i % 512, i >> 9]
    all[i] = 128 + 60 * Math.sin(x / 40) + 50 * Math.cos(y / 30) + next(6)
  }
  return all
}

/** What is compressed already. */
const noise = (next: Chance, length: number): Buffer => Buffer.from(Array.from({ length }, () => next(256)))

/** Gives the part of some length that begins where the last one ended, around and around. */
const around = (whole: Buffer, size: number) => (index: number): Buffer => {
  const from = index * size % whole.length
  const rest = whole.subarray(from, from + size)
  return rest.length === size ? rest : Buffer.concat([rest, whole.subarray(0, size - rest.length)])
}

/** The same of text, by characters. */
const aroundText = (whole: string, size: number) => (index: number): Buffer => {
  const from = index * size % whole.length
  const rest = whole.slice(from, from + size)
  return Buffer.from(rest + whole.slice(0, size - rest.length))
}

interface Data {
  readonly about: string
  readonly opcode: number
  readonly shrinks: boolean
  readonly message: (size: number) => (index: number) => Buffer
}

const binary = (about: string, whole: Buffer, shrinks = true): Data => ({
  about,
  opcode: opcodes.binary,
  shrinks,
  message: (size) => around(whole, size)
})

const largeJson = json(chance(1), 194_056)
const jsonData: Data = {
  about: "JSON",
  opcode: opcodes.text,
  shrinks: true,
  message: (size) => aroundText(largeJson, size)
}

const data: ReadonlyArray<Data> = [
  jsonData,
  binary("a picture", picture(chance(2), 263_222)),
  binary("German verse", Buffer.from(prose(chance(3), 222_218))),
  binary("HTML", Buffer.from(html(chance(4), 263_647))),
  binary("what is compressed already", noise(chance(5), 1_042_328), false)
]

// -----------------------------------------------------------------------------
// How it is sent
// -----------------------------------------------------------------------------

/** The size of the messages, and of the frames they are cut into. */
const sizes: ReadonlyArray<readonly [number, number?]> = [
  [16],
  [64],
  [256],
  [1024],
  [4096],
  [8192],
  [16384],
  [32768],
  [65536],
  [131072],
  [8192, 256],
  [16384, 256],
  [32768, 256],
  [65536, 256],
  [131072, 256],
  [131072, 1024],
  [131072, 4096],
  [131072, 32768]
]

interface Terms {
  readonly about: string
  readonly offers: string
  readonly answer: string
}

const deflate = (...parameters: ReadonlyArray<string>): string => ["permessage-deflate", ...parameters].join("; ")

/** An offer that lets the server ask for anything, as each of Autobahn's does, and asks for this itself. */
const offer = (...parameters: ReadonlyArray<string>): string =>
  deflate("client_no_context_takeover", "client_max_window_bits", ...parameters)

/** The peer asks for the same of the subject in both roles. */
const terms = (about: string, takeover: boolean, bits?: number): Terms => {
  const ask = (end: string) => [
    ...takeover ? [] : [`${end}_no_context_takeover`],
    ...bits === undefined ? [] : [`${end}_max_window_bits=${bits}`]
  ]
  return { about, offers: offer(...ask("server")), answer: deflate(...ask("client")) }
}

const plain = terms("nothing asked for", true)
const negotiated: ReadonlyArray<Terms> = [
  plain,
  terms("no context takeover", false),
  terms("windows of 2^9", true, 9),
  terms("windows of 2^15", true, 15),
  terms("no context takeover, windows of 2^9", false, 9),
  terms("no context takeover, windows of 2^15", false, 15),
  {
    about: "three offers, the first with no context takeover, windows of 2^9",
    offers: [
      offer("server_no_context_takeover", "server_max_window_bits=9"),
      offer("server_no_context_takeover"),
      offer()
    ].join(", "),
    answer: deflate("client_no_context_takeover", "client_max_window_bits=9")
  }
]

const exchanges = (id: string, about: string, of: Data, { answer, offers }: Terms): ReadonlyArray<Compressed> =>
  sizes.map(([size, frameSize], i) => ({
    kind: "compressed",
    id: `${id}.${i + 1}`,
    about: `messages of ${size}${frameSize === undefined ? "" : `, in frames of ${frameSize}`}: ${about}`,
    opcode: of.opcode,
    payload: of.message(size),
    size,
    count: 1000,
    frameSize,
    // Below that, compressing is not worth it, and left out by most.
    shrinks: of.shrinks && size >= 1024,
    offers,
    answer
  }))

export const compression: ReadonlyArray<Section> = [
  {
    id: "12",
    title: "Compression, of different data",
    cases: data.flatMap((of, i) => exchanges(`12.${i + 1}`, of.about, of, plain))
  },
  {
    id: "13",
    title: "Compression, on different terms",
    cases: negotiated.flatMap((those, i) => exchanges(`13.${i + 1}`, those.about, jsonData, those))
  }
]
