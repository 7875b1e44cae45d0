/** What the application offers, for its server and its clients. */
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { Rpc, RpcGroup } from "effect/rpc"
import { Topic } from "effect-ws"

export const Message = Schema.Struct({ by: Schema.String, text: Schema.String })

/** A chat: what was said in the last hour, who is there, and what is said from now on. */
export const Room = Topic.make("room/:room", {
  message: Message,
  member: Schema.Struct({ name: Schema.String }),
  history: { size: 256, ttl: "1 hour" }
})

export const Said = Schema.Struct({ room: Schema.String, by: Schema.String, text: Schema.String })

/** Over HTTP: who is in a room, and a way to say something without a connection. */
export const Api = HttpApi.make("application").add(
  HttpApiGroup.make("rooms").add(
    HttpApiEndpoint.get("members", "/rooms/:room", {
      params: { room: Schema.String },
      success: Schema.Array(Schema.String)
    }),
    HttpApiEndpoint.post("say", "/rooms/:room/messages", {
      params: { room: Schema.String },
      payload: Schema.Struct({ by: Schema.String, text: Schema.String })
    })
  )
)

/** Over WebSocket: calls, and streams that go on. */
export class Calls extends RpcGroup.make(
  Rpc.make("Say", { payload: Said }),
  Rpc.make("Follow", { payload: { room: Schema.String }, success: Said, stream: true })
) {}
