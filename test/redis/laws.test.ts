import { Effect } from "effect"
import { brokerLaws } from "../support/brokerLaws.ts"
import { connectBroker } from "../support/redisBrokers.ts"
import { startRedis } from "../support/redisServer.ts"

brokerLaws(
  "Redis",
  Effect.flatMap(startRedis(), ({ port }) => Effect.all([connectBroker(port), connectBroker(port)]))
)
