import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Client } from "../../../src/internal/redis/client.ts"
import { Subscriber } from "../../../src/internal/redis/subscriber.ts"
import { until } from "../../support/brokerEvents.ts"

/** A client that keeps its requests, and lets the test reply to them. */
const makeClient = () => {
  const requests: Array<{ readonly channels: ReadonlyArray<string>; confirm(): void; refuse(cause: unknown): void }> =
    []
  const moved: Array<(channel: string) => void> = []
  const client = {
    connect: async () => {},
    destroy: () => {},
    on: (event: string, listener: (channel: string) => void) => {
      if (event === "sharded-channel-moved") moved.push(listener)
    },
    sSubscribe: (channels: ReadonlyArray<string>) =>
      new Promise<void>((resolve, reject) => requests.push({ channels, confirm: resolve, refuse: reject })),
    sUnsubscribe: async () => {}
  } as unknown as Client
  return {
    client,
    requests,
    /** The server ends the subscription of a channel. */
    move: (channel: string) => {
      for (const listener of moved) listener(channel)
    }
  }
}

/** A subscriber that is up, with its only client, what it wants, and what it has told. */
const makeSubscriber = Effect.gen(function*() {
  const { client, move, requests } = makeClient()
  const wanted = new Set<string>()
  const told: Array<string> = []
  const subscriber = new Subscriber({ dial: Effect.succeed(client), connectTimeout: 1000 }, true, {
    wanted: () => wanted,
    isWanted: (channel) => wanted.has(channel),
    onSubscribed: (channels) => void told.push(...channels.map((channel) => `subscribed ${channel}`)),
    onRefused: (channels, cause) => void told.push(...channels.map((channel) => `refused ${channel} ${cause}`)),
    onMessage: () => {},
    onMoved: (channel) => void told.push(`moved ${channel}`),
    onDown: () => {},
    onUp: () => void told.push("up")
  })
  yield* Effect.forkChild(subscriber.link.run)
  yield* until(() => subscriber.isUp)
  return {
    requests,
    move,
    told,
    subscriber,
    want: (channel: string) => {
      wanted.add(channel)
      subscriber.update(channel)
    },
    forget: (channel: string) => void wanted.delete(channel),
    /** How many refused channels it remembers, which only clusters ask about. */
    remembered: () => (subscriber as unknown as { readonly refused: ReadonlySet<string> }).refused.size
  }
})

describe("a subscriber to Redis", () => {
  it.live("subscribes again to a channel that the server ended in the moment in which it confirmed it", () =>
    Effect.gen(function*() {
      const { move, requests, subscriber, told, want } = yield* makeSubscriber
      want("{1}room")
      yield* until(() => requests.length === 1)
      requests[0].confirm()
      move("{1}room")
      subscriber.update("{1}room")
      yield* until(() => requests.length === 2)
      requests[1].confirm()
      yield* until(() => told.length === 3)
      assert.deepStrictEqual(told, ["up", "moved {1}room", "subscribed {1}room"])
    }))

  it.live("asks again for a channel that the server refuses, and for no other of the same turn", () =>
    Effect.gen(function*() {
      const { requests, subscriber, told, want } = yield* makeSubscriber
      want("{1}room")
      want("{2}room")
      yield* until(() => requests.length === 2)
      requests[0].refuse("MOVED")
      requests[1].confirm()
      yield* until(() => told.length === 3)
      assert.deepStrictEqual(told.toSorted(), ["refused {1}room MOVED", "subscribed {2}room", "up"])
      assert.isTrue(subscriber.hasRefused)
      for (const channel of ["{1}room", "{2}room"]) subscriber.update(channel)
      yield* until(() => requests.length === 3)
      assert.deepStrictEqual(requests[2].channels, ["{1}room"])
      requests[2].confirm()
      yield* until(() => told.includes("subscribed {1}room"))
      assert.isFalse(subscriber.hasRefused)
    }))

  it.live("forgets a refused channel when it is not wanted any more, though no cluster asks", () =>
    Effect.gen(function*() {
      const { forget, remembered, requests, subscriber, want } = yield* makeSubscriber
      want("{1}room")
      yield* until(() => requests.length === 1)
      requests[0].refuse("NOPERM")
      yield* until(() => remembered() === 1)
      forget("{1}room")
      subscriber.update("{1}room")
      yield* until(() => remembered() === 0)
    }))

  it.live("does not ask again for a refused channel that is not wanted any more", () =>
    Effect.gen(function*() {
      const { forget, requests, subscriber, want } = yield* makeSubscriber
      want("{1}room")
      yield* until(() => requests.length === 1)
      requests[0].refuse("MOVED")
      yield* until(() => subscriber.hasRefused)
      forget("{1}room")
      assert.isFalse(subscriber.hasRefused)
    }))
})
