/** Checks the options of a broker over Redis. */
import type { InvalidOption } from "../../HandshakeError.ts"
import type { Options } from "../../RedisBroker.ts"
import * as Duration from "effect/Duration"
import * as Redacted from "effect/Redacted"
import { invalidOption, nonNegativeDuration, positiveDuration } from "../runtime/optionChecks.ts"
import type { Address } from "./client.ts"

const minLease = 1000

/** Parses `host:port`. An IPv6 address is in brackets. */
export const addressOf = (address: string): Address => {
  const colon = address.lastIndexOf(":")
  return { host: address.slice(0, colon).replace(/^\[(.*)\]$/, "$1"), port: Number(address.slice(colon + 1)) }
}

const isAddress = (address: unknown): boolean =>
  typeof address === "string" && /^(?:\[[^\]]+\]|[^:\s]+):\d{1,5}$/.test(address) && addressOf(address).port <= 65_535

const checkAddresses = (option: string, addresses: ReadonlyArray<string>): InvalidOption | undefined => {
  if (!Array.isArray(addresses) || addresses.length === 0) {
    return invalidOption(option, "at least one server as host:port", addresses)
  }
  const invalid = addresses.find((address) => !isAddress(address))
  return invalid === undefined ? undefined : invalidOption(option, "servers as host:port", invalid)
}

const checkUrl = (url: Options["url"]): InvalidOption | undefined => {
  if (url === undefined) return undefined
  const value = Redacted.isRedacted(url) ? Redacted.value(url) : url
  // The error does not show the URL, which may have a password.
  return typeof value === "string" && URL.canParse(value) && /^(?:rediss?|unix):\/\//.test(value)
    ? undefined
    : invalidOption("url", "a URL that begins with redis://, rediss:// or unix://", Redacted.make(value))
}

const checkServers = ({ cluster, sentinel }: Options): InvalidOption | undefined => {
  if (cluster !== undefined && sentinel !== undefined) {
    return invalidOption("sentinel", "no sentinel beside cluster, because each of them names the servers", sentinel)
  }
  if (cluster !== undefined) return checkAddresses("cluster", cluster)
  if (sentinel !== undefined) return checkAddresses("sentinel.nodes", sentinel.nodes)
  return undefined
}

/** Redis stores these durations in milliseconds, and knows no infinite ones. */
const checkStored = (
  option: string,
  value: Duration.Input | undefined,
  accept: (millis: number) => boolean,
  expected: string
): InvalidOption | undefined => {
  const problem = nonNegativeDuration(option, value)
  if (value === undefined || problem !== undefined) return problem
  const millis = Duration.toMillis(Duration.fromInputUnsafe(value))
  return millis <= Number.MAX_SAFE_INTEGER && accept(millis) ? undefined : invalidOption(option, expected, value)
}

export const checkRedis = (options: Options): InvalidOption | undefined =>
  checkUrl(options.url) ??
    checkServers(options) ??
    checkStored("lease", options.lease, (millis) => millis >= minLease, "a finite duration of at least 1 second") ??
    positiveDuration("commandTimeout", options.commandTimeout) ??
    positiveDuration("connectTimeout", options.connectTimeout) ??
    positiveDuration("beaconInterval", options.beaconInterval) ??
    positiveDuration("checkInterval", options.checkInterval) ??
    checkStored("positionTtl", options.positionTtl, (millis) => millis > 0, "a finite duration > 0")
