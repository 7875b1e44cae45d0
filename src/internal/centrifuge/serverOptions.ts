/** Checks the options of a topic server, and fills in their defaults. Times are in milliseconds. */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Topic from "../../Topic.ts"
import type { Options } from "../../TopicServer.ts"
import {
  assertValid,
  atLeast,
  type Checked,
  integerBetween,
  invalidOption,
  nonNegativeDuration,
  positiveDuration
} from "../runtime/optionChecks.ts"
import type { Bounds, Codec } from "./codec.ts"

// oxlint-disable-next-line typescript/no-explicit-any
type AnyOptions = Options<any, any, any, any, any, any>

/** The effects of the program, with services of the type R. */
export type Decisions<R> = Pick<
  Options<R, R, R, R, R, R>,
  "connect" | "message" | "publish" | "read" | "rpc" | "subscribe"
>

export interface Settings<R> {
  readonly topics: ReadonlyArray<Topic.Any>
  readonly decisions: Decisions<R>
  readonly codecs: ReadonlyArray<Codec>
  readonly bounds: Bounds
  readonly maxChannels: number
  readonly maxChannelLength: number
  readonly rate: { readonly perSecond: number; readonly burst: number }
  readonly maxCalls: number
  readonly maxHistory: number
  readonly connectTimeout: number
  readonly refreshTimeout: number
  readonly pingInterval: number
  readonly pongTimeout: number
}

const most = 2 ** 31 - 1

/** Returns the settings of valid options. Throws the first invalid option. */
export const readOptions = <R1, R2, R3, R4, R5, R6>(
  options: Options<R1, R2, R3, R4, R5, R6>
): Settings<R1 | R2 | R3 | R4 | R5 | R6> => {
  assertValid(checkOptions(options))
  return {
    topics: options.topics,
    decisions: options as Decisions<R1 | R2 | R3 | R4 | R5 | R6>,
    codecs: (options.formats ?? []).map(({ codec }) => codec),
    bounds: { maxSize: options.maxCommandSize ?? 65_536, maxCount: options.maxCommands ?? 1000 },
    maxChannels: options.maxChannels ?? 128,
    maxChannelLength: options.maxChannelLength ?? 255,
    rate: options.rate ?? { perSecond: 100, burst: 1000 },
    maxCalls: options.maxCalls ?? 16,
    maxHistory: options.maxHistory ?? 1000,
    connectTimeout: millis(options.connectTimeout, 10),
    refreshTimeout: millis(options.refreshTimeout, 25),
    pingInterval: millis(options.pingInterval, 25),
    pongTimeout: millis(options.pongTimeout, 10)
  }
}

const millis = (value: Duration.Input | undefined, seconds: number): number =>
  Duration.toMillis(value ?? Duration.seconds(seconds))

const checkOptions = (options: AnyOptions): Checked =>
  checkTopics(options.topics) ??
    integerBetween(0, most, "maxChannels", options.maxChannels) ??
    integerBetween(1, most, "maxChannelLength", options.maxChannelLength) ??
    integerBetween(1, most, "maxCommandSize", options.maxCommandSize) ??
    integerBetween(1, most, "maxCommands", options.maxCommands) ??
    integerBetween(1, most, "maxCalls", options.maxCalls) ??
    integerBetween(1, most, "maxHistory", options.maxHistory) ??
    atLeast(0, "rate.perSecond", options.rate?.perSecond) ??
    atLeast(1, "rate.burst", options.rate?.burst) ??
    positiveDuration("connectTimeout", options.connectTimeout) ??
    nonNegativeDuration("refreshTimeout", options.refreshTimeout) ??
    positiveDuration("pingInterval", options.pingInterval) ??
    positiveDuration("pongTimeout", options.pongTimeout) ??
    checkPings(options)

const checkTopics = (topics: ReadonlyArray<Topic.Any>): Checked =>
  Option.match(Topic.findOverlap(topics), {
    onNone: () => undefined,
    onSome: ([left, right]) => invalidOption("topics", "topics that share no channel", `${left.path} and ${right.path}`)
  })

/** The protocol tells clients the interval in whole seconds. A pong that may come after the next ping tells nothing. */
const checkPings = ({ pingInterval = "25 seconds", pongTimeout = "10 seconds" }: AnyOptions): Checked => {
  const interval = Duration.toMillis(pingInterval)
  if (interval < 1000) return invalidOption("pingInterval", "at least 1 second", pingInterval)
  return Duration.toMillis(pongTimeout) < interval
    ? undefined
    : invalidOption("pongTimeout", "less than pingInterval", pongTimeout)
}
