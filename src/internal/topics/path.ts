/**
 * The paths of topics: literals and parameters, such as `room/:name`. A path with
 * values for its parameters is the name of a channel, and the name gives the values
 * back. The last parameter is written as it is. In an earlier one, `%` and the
 * first character of the literal behind it are percent-encoded, so that the literal
 * marks its end.
 */
import { invalidOption } from "../runtime/optionChecks.ts"

/** A path with n parameters has n + 1 literals. The first and the last may be empty. */
export interface Path {
  readonly literals: ReadonlyArray<string>
  readonly names: ReadonlyArray<string>
  /** For each parameter but the last, the characters that it encodes, and their forms. */
  readonly escapes: ReadonlyArray<ReadonlyMap<string, string>>
}

const parameter = /:([A-Za-z_][A-Za-z0-9_]*)/g

/** Parses a path. Throws `InvalidOption` if two parameters have the same name or no literal that separates them. */
export const parsePath = (path: string): Path => {
  if (typeof path !== "string" || path === "" || !isWellFormed(path)) {
    throw invalidOption("path", "a text that is not empty", path)
  }
  const literals: Array<string> = []
  const names: Array<string> = []
  let end = 0
  for (const match of path.matchAll(parameter)) {
    literals.push(path.slice(end, match.index))
    names.push(match[1])
    end = match.index + match[0].length
  }
  literals.push(path.slice(end))
  const inner = literals.slice(1, -1)
  if (inner.includes("")) throw invalidOption("path", "a literal between two parameters", path)
  // Escapes begin with it, and have no other character that a literal behind an identifier can begin with.
  if (inner.some((literal) => literal.startsWith("%"))) {
    throw invalidOption("path", "a literal between two parameters that does not begin with %", path)
  }
  if (new Set(names).size < names.length) throw invalidOption("path", "a different name for each parameter", path)
  return { literals, names, escapes: inner.map(escapesOf) }
}

const encoder = new TextEncoder()

/** The percent-encoding of a character (RFC 3986 §2.1), also of those that URLs do not encode. */
const percentEncode = (character: string): string =>
  Array.from(encoder.encode(character), (byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join("")

const firstCharacter = (text: string): string => String.fromCodePoint(text.codePointAt(0)!)

const escapesOf = (literal: string): ReadonlyMap<string, string> =>
  new Map(["%", firstCharacter(literal)].map((character) => [character, percentEncode(character)]))

/** Whether each surrogate of a text has its other half, so that UTF-8 can encode it. */
const isWellFormed = (text: string): boolean => !/\p{Surrogate}/u.test(text)

/** Replaces what UTF-8 cannot encode, as an encoder would. */
const toWellFormed = (text: string): string => text.replace(/\p{Surrogate}/gu, "\ufffd")

/** A program without types may leave a parameter out, or pass a number. */
const textOf = (name: string, param: unknown): string => {
  if (typeof param !== "string") throw invalidOption(`params.${name}`, "a text", param)
  return param
}

/** Returns the name of the channel for the values of the parameters. */
export const formatPath = ({ escapes, literals, names }: Path, params: Readonly<Record<string, string>>): string => {
  let channel = literals[0]
  for (let i = 0; i < names.length; i++) {
    const value = toWellFormed(textOf(names[i], params[names[i]]))
    channel += (i < escapes.length ? escape(value, escapes[i]) : value) + literals[i + 1]
  }
  return channel
}

const escape = (value: string, escapes: ReadonlyMap<string, string>): string => {
  let escaped = value.replaceAll("%", "%25")
  for (const [character, form] of escapes) if (character !== "%") escaped = escaped.replaceAll(character, form)
  return escaped
}

/** Returns the value of an escaped parameter, or undefined if `escape` returns this text for no value. */
const unescape = (text: string, escapes: ReadonlyMap<string, string>): string | undefined => {
  let value = ""
  for (let at = 0; at < text.length;) {
    if (text[at] !== "%") {
      value += text[at++]
      continue
    }
    const escaped = [...escapes].find(([, form]) => text.startsWith(form, at))
    if (escaped === undefined) return undefined
    value += escaped[0]
    at += escaped[1].length
  }
  return value
}

/** Returns the values of the parameters, or undefined if the channel is not one of this path. */
export const matchPath = (
  { escapes, literals, names }: Path,
  channel: string
): Readonly<Record<string, string>> | undefined => {
  if (!isWellFormed(channel) || !channel.startsWith(literals[0])) return undefined
  if (names.length === 0) return channel === literals[0] ? {} : undefined
  const params: Record<string, string> = {}
  let at = literals[0].length
  for (let i = 0; i < escapes.length; i++) {
    const literal = literals[i + 1]
    const end = channel.indexOf(firstCharacter(literal), at)
    if (end < 0 || !channel.startsWith(literal, end)) return undefined
    const value = unescape(channel.slice(at, end), escapes[i])
    if (value === undefined) return undefined
    params[names[i]] = value
    at = end + literal.length
  }
  const suffix = literals[literals.length - 1]
  const end = channel.length - suffix.length
  if (end < at || !channel.endsWith(suffix)) return undefined
  params[names[names.length - 1]] = channel.slice(at, end)
  return params
}

// -- overlaps -----------------------------------------------------------------

/** A step of the automaton that reads the channels of a path: one character, or any number of pieces. */
type Step =
  | { readonly one: string }
  /** All characters but `%` and the one that ends the parameter, and the two escapes. */
  | { readonly many: true; readonly without: ReadonlyMap<string, string> }

const stepsOf = ({ escapes, literals, names }: Path): ReadonlyArray<Step> =>
  literals.flatMap((literal, i): ReadonlyArray<Step> => [
    ...Array.from(literal, (one) => ({ one })),
    ...(i < names.length ? [{ many: true as const, without: escapes[i] ?? new Map<string, string>() }] : [])
  ])

/** A state: the index of a step, and the rest of an escape that has begun. */
type State = readonly [step: number, escape: string]

/** The states behind a character. `other` stands for every character that no path mentions. */
const after = (steps: ReadonlyArray<Step>, [index, rest]: State, character: string): Array<State> => {
  if (rest !== "") return rest.startsWith(character) ? [[index, rest.slice(character.length)]] : []
  const step = steps[index]
  if (step === undefined) return []
  if ("one" in step) return step.one === character ? [[index + 1, ""]] : []
  const escaped = [...step.without.values()].filter((form) => form.startsWith(character))
  const inside: Array<State> = step.without.has(character) ? [] : [[index, ""]]
  return [
    ...inside,
    ...escaped.map((form): State => [index, form.slice(character.length)]),
    ...after(steps, [index + 1, ""], character)
  ]
}

const accepts = (steps: ReadonlyArray<Step>, [index, rest]: State): boolean =>
  rest === "" && steps.slice(index).every((step) => "many" in step)

/** Whether a channel of one path is also one of another path. */
export const overlap = (left: Path, right: Path): boolean => {
  const [a, b] = [stepsOf(left), stepsOf(right)]
  const mentioned = [...a, ...b].flatMap((step) =>
    "one" in step ? [step.one] : [...step.without].flat().flatMap((text) => Array.from(text))
  )
  const other = "\0"
  const alphabet = new Set([...mentioned, other])
  const start: readonly [State, State] = [[0, ""], [0, ""]]
  const seen = new Set([JSON.stringify(start)])
  const queue = [start]
  for (let pair = queue.pop(); pair !== undefined; pair = queue.pop()) {
    if (accepts(a, pair[0]) && accepts(b, pair[1])) return true
    for (const character of alphabet) {
      for (const x of after(a, pair[0], character)) {
        for (const y of after(b, pair[1], character)) {
          const key = JSON.stringify([x, y])
          if (!seen.has(key)) {
            seen.add(key)
            queue.push([x, y])
          }
        }
      }
    }
  }
  return false
}
