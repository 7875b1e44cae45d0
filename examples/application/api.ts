/** What the application offers, for its server and its clients. */
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { Rpc, RpcGroup } from "effect/rpc"

export const Message = Schema.Struct({ room: Schema.String, text: Schema.String })
export type Message = typeof Message.Type

/** Over HTTP: which rooms there are, and a way to say something without a connection. */
export const Api = HttpApi.make("application").add(
  HttpApiGroup.make("rooms").add(
    HttpApiEndpoint.get("list", "/rooms", {
      success: Schema.Array(Schema.Struct({ room: Schema.String, people: Schema.Number }))
    }),
    HttpApiEndpoint.post("say", "/rooms/:room/messages", {
      params: { room: Schema.String },
      payload: Schema.Struct({ text: Schema.String })
    })
  )
)

/** Over WebSocket: calls, and streams that go on. */
export class Calls extends RpcGroup.make(
  Rpc.make("Say", { payload: Message }),
  Rpc.make("Follow", { payload: { room: Schema.String }, success: Message, stream: true })
) {}
