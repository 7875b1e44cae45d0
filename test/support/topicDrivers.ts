/**
 * Three clients of the topic protocol behind one interface: the npm package `centrifuge` in JSON and in Protobuf, and
 * `TopicClient`. Scenarios that pass with all three show that the server keeps the protocol, and that the client does.
 */
import { Centrifuge } from "centrifuge"
import { Centrifuge as CentrifugeProtobuf } from "centrifuge/build/protobuf"
import { Effect, Exit, Schedule, Schema, Scope, Stream } from "effect"
import { Topic, TopicClient, WebSocketClient } from "effect-ws"
import { WebSocket } from "ws"

export const Room = Topic.make("room::name", {
  message: Schema.Json,
  member: Schema.Struct({ name: Schema.String }),
  history: { size: 100, ttl: "60 seconds" }
})
export const Brief = Topic.make("brief::name", { message: Schema.Json, history: { size: 2, ttl: "60 seconds" } })
export const Feed = Topic.make("feed::name", { message: Schema.Json })
export const topics = [Room, Brief, Feed]

export interface Subscribed {
  /** What has happened, in order: "subscribed", "resumed", "gap", "message 1", "joined ada", "left ada", "ended 2000". */
  readonly log: ReadonlyArray<string>
  readonly stop: () => void
}

export interface Driven {
  readonly subscribe: (channel: string, token?: string) => Subscribed
  readonly publish: (channel: string, data: Schema.Json) => Promise<unknown>
  readonly members: (channel: string) => Promise<ReadonlyArray<string>>
  readonly history: (channel: string, limit?: number) => Promise<ReadonlyArray<unknown>>
  readonly rpc: (method: string, data: Schema.Json) => Promise<unknown>
  readonly send: (data: Schema.Json) => Promise<unknown>
  /** Data from the server that belongs to no channel. */
  readonly received: ReadonlyArray<unknown>
  /** The code with which the client has given up; undefined while it has not. */
  readonly ended: () => number | undefined
  readonly close: () => Promise<void>
}

export interface Driver {
  readonly name: string
  readonly open: (url: string, token: string | (() => string)) => Driven
}

/** The code of a rejection or a disconnect. */
const codeOf = (error: unknown): number =>
  typeof error === "object" && error !== null && "code" in error ? Number(error.code) : 0

export const rejectedWith = (promise: Promise<unknown>): Promise<number> =>
  promise.then(() => {
    throw new Error("expected a rejection")
  }, codeOf)

// -- centrifuge ---------------------------------------------------------------

const parse = (data: unknown): unknown =>
  data instanceof Uint8Array ? JSON.parse(Buffer.from(data).toString("utf8")) : data

/** The clients wait for random times up to these, in milliseconds. */
const delays = { minReconnectDelay: 5, maxReconnectDelay: 20 }
const subscriptionDelays = { minResubscribeDelay: 5, maxResubscribeDelay: 20 }

const centrifugeDriver = (name: string, Client: typeof Centrifuge, encode: (data: unknown) => unknown): Driver => ({
  name,
  open: (url, token) => {
    const client = new Client(url, {
      websocket: WebSocket,
      ...delays,
      ...typeof token === "string" ? { token } : { getToken: () => Promise.resolve(token()) }
    })
    let code: number | undefined
    const received: Array<unknown> = []
    client.on("disconnected", (context) => void (code = context.code))
    client.on("message", ({ data }) => void received.push(parse(data)))
    client.connect()
    return {
      subscribe: (channel, subscriptionToken) => {
        const log: Array<string> = []
        const nameOf = (context: { readonly info: { readonly chanInfo?: unknown } }) =>
          (parse(context.info.chanInfo) as { readonly name: string }).name
        const subscription = client.newSubscription(channel, {
          ...subscriptionDelays,
          joinLeave: true,
          ...subscriptionToken === undefined ? {} : { getToken: () => Promise.resolve(subscriptionToken) }
        })
        subscription.on("subscribed", ({ recovered, wasRecovering }) => {
          log.push(wasRecovering ? recovered ? "resumed" : "gap" : "subscribed")
        })
        subscription.on("publication", ({ data }) => void log.push(`message ${JSON.stringify(parse(data))}`))
        subscription.on("join", (context) => void log.push(`joined ${nameOf(context)}`))
        subscription.on("leave", (context) => void log.push(`left ${nameOf(context)}`))
        subscription.on("unsubscribed", (context) => void log.push(`ended ${context.code}`))
        subscription.subscribe()
        return { log, stop: () => client.removeSubscription(subscription) }
      },
      publish: (channel, data) => client.publish(channel, encode(data)),
      members: async (channel) => {
        const { clients } = await client.presence(channel)
        return Object.values(clients).map(({ user }) => user).toSorted()
      },
      history: async (channel, limit = -1) => {
        const { publications } = await client.history(channel, { limit })
        return publications.map(({ data }) => parse(data))
      },
      rpc: async (method, data) => parse((await client.rpc(method, encode(data))).data),
      send: (data) => client.send(encode(data)),
      received,
      ended: () => code,
      close: () => {
        client.disconnect()
        return Promise.resolve()
      }
    }
  }
})

// -- TopicClient --------------------------------------------------------------

const topicClientDriver: Driver = {
  name: "TopicClient",
  open: (url, token) => {
    const scope = Scope.makeUnsafe()
    const received: Array<unknown> = []
    let code: number | undefined
    const opened = Effect.runPromise(Scope.provide(
      TopicClient.make(() => WebSocketClient.connect(url), {
        token: typeof token === "string" ? token : Effect.sync(token),
        schedule: Schedule.spaced("10 millis"),
        onMessage: (data) => void received.push(data)
      }),
      scope
    ))
    const use = <A, E>(
      run: (client: Awaited<typeof opened>) => Effect.Effect<A, E>
    ): Promise<A> => opened.then((client) => Effect.runPromise(Effect.catch(run(client), (error) => Effect.die(error))))
    void opened.then((client) => Effect.runPromiseExit(client.connection.closed)).then((exit) => {
      if (Exit.isFailure(exit)) {
        code = codeOf(exit.cause.reasons.map((reason) => "error" in reason ? reason.error : 0)[0])
      }
    })
    const find = (channel: string) => {
      const topic = topics.find(({ path }) => channel.startsWith(path.slice(0, path.indexOf(":") + 1)))!
      return [topic as typeof Room, { name: channel.slice(channel.indexOf(":") + 1) }] as const
    }
    return {
      subscribe: (channel, subscriptionToken) => {
        const log: Array<string> = []
        const own = Scope.makeUnsafe()
        const note = (event: Topic.Event<Schema.Json, { readonly name: string }>) => {
          if (event._tag === "Subscribed") log.push(log.length === 0 ? "subscribed" : "resumed")
          else if (event._tag === "Message") log.push(`message ${JSON.stringify(event.message)}`)
          // The confirmation before it has resumed with a gap.
          else if (event._tag === "Gap") log.splice(log.lastIndexOf("resumed"), 1, "gap")
          else log.push(`${event._tag.toLowerCase()} ${event.member.name}`)
        }
        void opened.then((client) => {
          const stream = client.subscribe(...find(channel), {
            token: subscriptionToken === undefined ? undefined : Effect.succeed(subscriptionToken)
          })
          Effect.runFork(Effect.forkIn(
            Effect.catch(
              Stream.runForEach(stream, (event) => Effect.sync(() => note(event))),
              (error) => Effect.sync(() => void log.push(`ended ${codeOf(error)}`))
            ),
            own
          ))
        })
        return {
          log,
          stop: () => {
            log.push("ended 0")
            Effect.runFork(Scope.close(own, Exit.void))
          }
        }
      },
      publish: (channel, data) => use((client) => client.publish(...find(channel), data)),
      members: async (channel) => {
        const members = await use((client) => client.members(...find(channel)))
        return members.map(({ member }) => member.name).toSorted()
      },
      history: async (channel, limit) => {
        const { messages } = await use((client) => client.history(...find(channel), { limit }))
        return messages.map(({ message }) => message)
      },
      rpc: (method, data) => use((client) => client.rpc(method, data)),
      send: (data) => use((client) => client.send(data)),
      received,
      ended: () => code,
      close: () => Effect.runPromise(Scope.close(scope, Exit.void))
    }
  }
}

export const drivers: ReadonlyArray<Driver> = [
  centrifugeDriver("centrifuge in JSON", Centrifuge, (data) => data),
  centrifugeDriver(
    "centrifuge in Protobuf",
    CentrifugeProtobuf as unknown as typeof Centrifuge,
    (data) => new TextEncoder().encode(JSON.stringify(data))
  ),
  topicClientDriver
]
