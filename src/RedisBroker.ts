/**
 * A broker over Redis or Valkey, from version 7.0 on: topics of many processes and
 * machines. Everything else that a program sees of `Topics` stays as it is.
 *
 * It needs the package `redis`. This module is not part of the index: import it from
 * `effect-ws/RedisBroker`.
 *
 * A process has two connections to each server: one for commands, and one that
 * receives events. A layer starts while Redis is down, and joins when Redis comes;
 * until then, operations fail at once with `BrokerUnavailable`. After a connection
 * was lost, `Topics` reads from the history what it has missed.
 *
 * **Example** (Topics over Redis)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { Topics } from "effect-ws"
 * import * as RedisBroker from "effect-ws/RedisBroker"
 *
 * const TopicsLive = Topics.layer().pipe(
 *   Layer.provide(RedisBroker.layer({ url: "redis://127.0.0.1:6379" }))
 * )
 * ```
 *
 * @since 0.1.0
 */
import type * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { Broker } from "./Broker.ts"
import type { InvalidOption } from "./HandshakeError.ts"
import { makeRedisBroker } from "./internal/redis/broker.ts"
import type { ClientOptions } from "./internal/redis/client.ts"
import { addressOf, checkRedis } from "./internal/redis/options.ts"
import type { Servers } from "./internal/redis/topology.ts"
import { readConfig } from "./internal/runtime/configOptions.ts"

// -----------------------------------------------------------------------------
// Options
// -----------------------------------------------------------------------------

/**
 * Options of a broker over Redis.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * The server: `redis://[[user]:password@]host[:port][/database]`, `rediss://` for
   * TLS, or `unix:///path` for a Unix socket. Default `redis://127.0.0.1:6379`.
   */
  readonly url?: string | Redacted.Redacted<string> | undefined
  /** The user of Redis's access lists. Default: that of `url`, or the default user. */
  readonly username?: string | undefined
  /** The password. Default: that of `url`, or none. */
  readonly password?: Redacted.Redacted<string> | undefined
  /**
   * The servers of Sentinel, each as `host:port`, and the name of the master that
   * they watch. After a failover, connections go to the new master. Default: none.
   */
  readonly sentinel?: { readonly name: string; readonly nodes: ReadonlyArray<string> } | undefined
  /**
   * Some nodes of a Redis Cluster, each as `host:port`; the others are found.
   * Events use sharded channels. Default: no cluster.
   */
  readonly cluster?: ReadonlyArray<string> | undefined
  /**
   * Further options of `createClient` in the package `redis`, such as `socket` with
   * certificates. Those for reconnecting and queueing have no effect. Default: none.
   */
  readonly client?: Readonly<Record<string, unknown>> | undefined
  /** What all keys and channels of Redis begin with. Programs with the same prefix share their topics. Default "ws". */
  readonly prefix?: string | undefined
  /**
   * How long the members of a process that has died remain, at most about four
   * thirds of this. A process renews its lease three times within it. Default 15
   * seconds. 1 second or more, but not Infinity.
   */
  readonly lease?: Duration.Input | undefined
  /** How long an operation waits for the reply of Redis. Default 5 seconds. More than 0, or Infinity. */
  readonly commandTimeout?: Duration.Input | undefined
  /** How long a connection may take to be ready. Default 5 seconds. More than 0, or Infinity. */
  readonly connectTimeout?: Duration.Input | undefined
  /**
   * How often a beacon goes through both connections of a server. A connection that
   * has not returned it by the next one is replaced, so that a network that swallows
   * bytes is found within twice this time. While beacons are late one after the other,
   * the time doubles, up to 16 times. Default 2 seconds. More than 0, or Infinity.
   */
  readonly beaconInterval?: Duration.Input | undefined
  /**
   * How often the positions of all subscribed channels are compared with Redis, to
   * find a message that was lost without a sign. Default 30 seconds. More than 0, or Infinity.
   */
  readonly checkInterval?: Duration.Input | undefined
  /**
   * How long Redis remembers the position of a channel that is not used. After it,
   * the channel begins with another epoch. Default 30 days. More than 0, but not Infinity.
   */
  readonly positionTtl?: Duration.Input | undefined
}

// -----------------------------------------------------------------------------
// Constructors
// -----------------------------------------------------------------------------

/**
 * Makes a broker. It connects in the background: `status` tells when it is up.
 * Fails with `InvalidOption` if an option is invalid.
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): Effect.Effect<Broker, InvalidOption, Scope.Scope> =>
  Effect.suspend(() => {
    const problem = checkRedis(options)
    if (problem !== undefined) return Effect.fail(problem)
    return makeRedisBroker({
      client: clientOptions(options),
      servers: serversOf(options),
      prefix: options.prefix ?? "ws",
      lease: millis(options.lease, "15 seconds"),
      commandTimeout: millis(options.commandTimeout, "5 seconds"),
      connectTimeout: millis(options.connectTimeout, "5 seconds"),
      beaconInterval: millis(options.beaconInterval, "2 seconds"),
      checkInterval: millis(options.checkInterval, "30 seconds"),
      positionTtl: Math.ceil(millis(options.positionTtl, "30 days"))
    })
  })

const millis = (value: Duration.Input | undefined, byDefault: Duration.Input): number =>
  Duration.toMillis(Duration.fromInputUnsafe(value ?? byDefault))

const clientOptions = ({ client, password, url, username }: Options): ClientOptions => {
  const options = client as ClientOptions | undefined
  const server = Redacted.isRedacted(url) ? Redacted.value(url) : url
  const path = server?.startsWith("unix:") === true
    ? { path: decodeURIComponent(new URL(server).pathname), tls: false as const }
    : undefined
  return {
    ...options,
    ...server === undefined || path !== undefined ? undefined : { url: server },
    ...username === undefined ? undefined : { username },
    ...password === undefined ? undefined : { password: Redacted.value(password) },
    ...path === undefined
      ? undefined
      : { socket: { ...options?.socket, ...path } as NonNullable<ClientOptions["socket"]> }
  }
}

const serversOf = ({ cluster, sentinel }: Options): Servers =>
  cluster !== undefined
    ? { _tag: "Cluster", seeds: cluster.map(addressOf) }
    : sentinel !== undefined
    ? { _tag: "Sentinel", name: sentinel.name, sentinels: sentinel.nodes.map(addressOf) }
    : { _tag: "Single" }

// -----------------------------------------------------------------------------
// Layers
// -----------------------------------------------------------------------------

/**
 * Provides a broker over Redis. Fails with `InvalidOption` if an option is invalid,
 * and never because Redis is down.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Broker, InvalidOption> => Layer.effect(Broker)(make(options))

/**
 * Provides a broker over Redis, with options from the configuration.
 *
 * **Example** (The URL and the password from the environment)
 *
 * ```ts
 * import { Config } from "effect"
 * import * as RedisBroker from "effect-ws/RedisBroker"
 *
 * const Redis = RedisBroker.layerConfig({
 *   url: Config.Redacted("REDIS_URL"),
 *   prefix: Config.withDefault(Config.String("REDIS_PREFIX"), "ws")
 * })
 * ```
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<Broker, InvalidOption | Config.ConfigError> =>
  Layer.effect(Broker)(Effect.flatMap(readConfig(options), make))
