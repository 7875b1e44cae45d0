/**
 * Market data for many subscribers.
 *
 *   PORT=9006 INTERVAL=50 SYMBOLS=ACME,GLOBEX node build/examples/market/server.js
 */
import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Context, Effect, Layer } from "effect"
import { Broker, Connection, Topics, TypedConnection, WebSocketServer } from "effect-ws"
import { Event, Prices } from "./api.ts"

/** The newest price of each symbol. */
class Market extends Context.Service<Market, ReadonlyMap<string, number>>()("example/Market") {
  static readonly layer = Layer.effect(Market)(Effect.gen(function*() {
    const symbols = yield* Config.String("SYMBOLS").pipe(Config.withDefault("ACME,GLOBEX,INITECH"))
    const interval = yield* Config.Int("INTERVAL").pipe(Config.withDefault(50))
    const prices = new Map(symbols.split(",").map((symbol) => [symbol, 100]))
    const tick = Effect.suspend(() => {
      const changed = Array.from(prices, ([symbol, price]) => ({
        symbol,
        price: price + Math.round(Math.random() * 8 - 4) / 4
      }))
      for (const { price, symbol } of changed) prices.set(symbol, price)
      return Effect.forEach(changed, (price) => Topics.publish(Prices, {}, price), { discard: true })
    })
    yield* Effect.forkScoped(Effect.forever(Effect.delay(tick, interval)))
    return prices
  }))
}

const encode = TypedConnection.encoder(Event)

const feed = Effect.gen(function*() {
  const connection = yield* Connection.Connection
  const market = yield* Market
  yield* Topics.deliver(connection, Prices, {})
  const prices = Array.from(market, ([symbol, price]) => ({ symbol, price }))
  yield* connection.send(yield* encode({ _tag: "Snapshot", prices }))
  yield* connection.discard
})

const Feed = WebSocketServer.serve(feed, { maxMessageSize: 1024 })

const Announce = Layer.effectDiscard(
  Effect.flatMap(WebSocketServer.WebSocketServer, ({ url }) => Console.log(`LISTENING ${url}`))
)

const Server = WebSocketServer.layerConfig({
  port: Config.Int("PORT").pipe(Config.withDefault(9006)),
  host: Config.succeed("127.0.0.1")
})

const Main = Layer.merge(Feed, Announce).pipe(
  Layer.provide(Market.layer),
  Layer.provide(Topics.layer({ topics: [Prices] })),
  Layer.provide(Broker.layerMemory()),
  Layer.provide(Server)
)

NodeRuntime.runMain(Layer.launch(Main))
