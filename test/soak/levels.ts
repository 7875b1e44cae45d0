/** Whether what a server holds stays where it is. */
import type { Sample } from "./sample.ts"

/** How much more of each there may be in the end: what the runtime itself does, and no more. */
const allowed = { heap: 3 * 2 ** 20, rss: 32 * 2 ** 20, handles: 3, descriptors: 3 }

export type Level = Readonly<Record<keyof typeof allowed, number>>

const median = (numbers: ReadonlyArray<number>): number =>
  numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]

const levelOf = (samples: ReadonlyArray<Sample>): Level => ({
  heap: median(samples.map(({ heap }) => heap)),
  rss: median(samples.map(({ rss }) => rss)),
  handles: median(samples.map(({ handles }) => handles)),
  descriptors: median(samples.map(({ descriptors }) => descriptors))
})

/** Of at least three samples, the first third is for compilers and caches to warm up; the others have two halves. */
export const levels = (samples: ReadonlyArray<Sample>): { readonly before: Level; readonly after: Level } => {
  const settled = samples.slice(Math.floor(samples.length / 3))
  const half = Math.floor(settled.length / 2)
  return { before: levelOf(settled.slice(0, half)), after: levelOf(settled.slice(-half)) }
}

/** What has grown by more than it may. */
export const growths = (samples: ReadonlyArray<Sample>): ReadonlyArray<string> => {
  const { after, before } = levels(samples)
  return Object.keys(allowed).flatMap((key) => {
    const name = key as keyof Level
    const growth = after[name] - before[name]
    return growth > allowed[name] ? [`${name} has grown by ${growth}, from ${before[name]}`] : []
  })
}
