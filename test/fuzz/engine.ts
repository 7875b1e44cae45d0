/**
 * A fuzzer. It makes inputs and mutates those that did something new: what an
 * input comes to is told by the target as a word, and the first input that comes
 * to a word is kept. Everything follows from the seed.
 *
 * Coverage of the code would say less here: each branch of these parsers is
 * taken within a second, what is left to find are sequences. And it needs no
 * instrumentation, so that it runs wherever the tests run.
 */
import { Worker } from "node:worker_threads"
import { type Choices, Random } from "./random.ts"

/** Something that takes bytes, and what must hold when it does. */
export interface Target {
  readonly name: string
  /** Makes an input, much of it valid. */
  readonly generate: (choices: Choices) => Uint8Array
  /** Takes an input, throws where something does not hold, and answers in a word what it came to. */
  readonly run: (input: Uint8Array) => string | Promise<string>
  /** Prepares what all runs need, and answers what clears it away. */
  readonly start?: () => Promise<() => Promise<void>>
  /** Parts of which inputs are made. */
  readonly words?: ReadonlyArray<string>
  /** Describes an input for the reader of a finding. */
  readonly explain?: (input: Uint8Array) => string
}

export interface Finding {
  readonly input: Uint8Array
  readonly error: Error
}

export interface Report {
  readonly target: string
  readonly seed: number
  readonly executions: number
  readonly corpus: number
  readonly finding: Finding | undefined
}

export interface Options {
  readonly seed: number
  /** When to stop. */
  readonly until: (executions: number) => boolean
  /** Is told of each input before it is run. */
  readonly onInput?: (input: Uint8Array) => void
}

/** More than any input needs, in milliseconds: a longer run takes superlinear time, or never ends. */
const patience = 5000

export const fuzz = async (target: Target, { onInput, seed, until }: Options): Promise<Report> => {
  const random = new Random(seed)
  const corpus: Array<Uint8Array> = []
  const seen = new Set<string>()
  let executions = 0
  let finding: Finding | undefined
  const attempt = async (input: Uint8Array): Promise<Error | undefined> => {
    executions++
    onInput?.(input)
    const outcome = await runOnce(target, input)
    if (outcome instanceof Error) return outcome
    if (!seen.has(outcome)) {
      seen.add(outcome)
      corpus.push(input)
    }
    return undefined
  }
  const stop = await target.start?.()
  while (finding === undefined && !until(executions)) {
    const input = corpus.length === 0 || random.oneIn(3)
      ? target.generate(random)
      : mutate(random, random.pick(corpus), random.pick(corpus), target.words)
    const error = await attempt(input)
    if (error !== undefined) finding = await minimise(input, error, attempt)
  }
  await stop?.()
  return { target: target.name, seed, executions, corpus: corpus.length, finding }
}

/** Runs an input. Answers what it came to, or what went wrong. */
export const runOnce = async (target: Target, input: Uint8Array): Promise<string | Error> => {
  let timer: NodeJS.Timeout | undefined
  const started = performance.now()
  try {
    // The target may overwrite what it is given.
    const outcome = target.run(Uint8Array.from(input))
    if (typeof outcome === "string") {
      const took = performance.now() - started
      return took < patience ? outcome : new Error(`it took ${took} ms`)
    }
    const late = new Promise<Error>((resolve) => {
      timer = setTimeout(() => resolve(new Error(`it is not over after ${patience} ms`)), patience)
    })
    return await Promise.race([outcome, late])
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  } finally {
    clearTimeout(timer)
  }
}

// -----------------------------------------------------------------------------
// Mutation
// -----------------------------------------------------------------------------

const maxSize = 64 * 1024

/** Bytes at which something changes. */
const edges = [0, 1, 0x7e, 0x7f, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8a, 0xc2, 0xed, 0xf4, 0xfe, 0xff]

const mutate = (
  random: Choices,
  input: Uint8Array,
  other: Uint8Array,
  words: ReadonlyArray<string> = []
): Uint8Array => {
  let bytes = Uint8Array.from(input)
  for (let count = 1 + random.below(4); count > 0; count--) {
    const at = random.below(bytes.length + 1)
    const end = Math.min(bytes.length, at + 1 + random.size(bytes.length))
    switch (random.below(words.length === 0 ? 7 : 9)) {
      case 0:
        if (at < bytes.length) bytes[at] = random.pick(edges)
        break
      case 1:
        if (at < bytes.length) bytes[at] ^= 1 << random.below(8)
        break
      case 2:
        bytes = splice(bytes, at, end)
        break
      case 3:
        bytes = splice(bytes, at, at, random.bytes(random.size(600)))
        break
      case 4:
        // A part of itself, again.
        bytes = splice(bytes, at, at, bytes.subarray(at, end))
        break
      case 5:
        bytes = splice(bytes, at, bytes.length, other.subarray(random.below(other.length + 1)))
        break
      case 6:
        bytes = splice(bytes, at, end, bytes.subarray(at, end).toReversed())
        break
      default:
        bytes = splice(bytes, at, random.oneIn(2) ? at : end, Buffer.from(random.pick(words), "latin1"))
    }
  }
  return bytes.subarray(0, maxSize)
}

const splice = (
  bytes: Uint8Array,
  from: number,
  to: number,
  put: Uint8Array = new Uint8Array()
): Uint8Array<ArrayBuffer> => Uint8Array.from(Buffer.concat([bytes.subarray(0, from), put, bytes.subarray(to)]))

/** Takes away what can be taken away, and makes what stays 0 where it can, as long as something is still wrong. */
const minimise = async (
  input: Uint8Array,
  error: Error,
  attempt: (input: Uint8Array) => Promise<Error | undefined>
): Promise<Finding> => {
  let best: Finding = { input, error }
  let left = 5000
  const improve = async (candidate: Uint8Array): Promise<boolean> => {
    if (left-- <= 0) return false
    const stillWrong = await attempt(candidate)
    if (stillWrong === undefined) return false
    best = { input: candidate, error: stillWrong }
    return true
  }
  for (let size = Math.ceil(input.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < best.input.length;) {
      if (!await improve(splice(best.input, at, at + size))) at += size
    }
  }
  for (let at = 0; at < best.input.length; at++) {
    if (best.input[at] !== 0) await improve(splice(best.input, at, at + 1, Uint8Array.of(0)))
  }
  return best
}

// -----------------------------------------------------------------------------
// Loops without end
// -----------------------------------------------------------------------------

/** The first 8 bytes of what is shared: a count of inputs, the size of the latest; then the input itself. */
const sharedHead = 8

const watch = `
const { workerData: { shared, patience } } = require("node:worker_threads")
const head = new Int32Array(shared, 0, 2)
let before = -1
setInterval(() => {
  if (head[0] === before) {
    const input = Buffer.from(Buffer.from(shared, ${sharedHead}, head[1])).toString("base64")
    require("node:fs").writeSync(2, "an input that never ends: " + input + "\\n")
    process.kill(process.pid, "SIGKILL")
  }
  before = head[0]
}, patience).unref()
`

/** A thread that ends the process when an input blocks it, and says which one it was. */
export const makeWatchdog = (): { readonly onInput: (input: Uint8Array) => void; readonly stop: () => void } => {
  const shared = new SharedArrayBuffer(sharedHead + maxSize)
  const head = new Int32Array(shared, 0, 2)
  const bytes = new Uint8Array(shared, sharedHead)
  const worker = new Worker(watch, { eval: true, workerData: { shared, patience: 2 * patience } })
  return {
    onInput: (input) => {
      bytes.set(input.subarray(0, maxSize))
      head[1] = Math.min(input.length, maxSize)
      head[0]++
    },
    stop: () => void worker.terminate()
  }
}
