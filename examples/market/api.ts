/** What the market sends, for its server and its clients. */
import { Schema } from "effect"
import { Topic } from "effect-ws"

export const Price = Schema.Struct({ symbol: Schema.String, price: Schema.Finite })

/** A subscriber that reads more slowly than prices change gets the newest price of each symbol, and no older one. */
export const Prices = Topic.make("prices", {
  message: Price,
  slowConsumer: "latest",
  key: ({ symbol }) => symbol
})

/** All prices, which a client receives once it has subscribed. */
const Snapshot = Schema.TaggedStruct("Snapshot", { prices: Schema.Array(Price) })

export const Event = Schema.Union([Topic.event(Prices), Snapshot])
