/**
 * The Protobuf form of the client protocol of topics, which the clients of Centrifuge for
 * Swift, Kotlin, Dart and others speak. It needs the package `protobufjs`, which only
 * programs that import this module load: `import * as TopicProtobuf from "effect-ws/TopicProtobuf"`.
 *
 * **Example** (A server of both forms)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Topic, TopicServer, WebSocketServer } from "effect-ws"
 * import * as TopicProtobuf from "effect-ws/TopicProtobuf"
 *
 * const News = Topic.make("news::section", { message: Schema.String })
 *
 * const Served = WebSocketServer.serve(
 *   TopicServer.handler({ topics: [News], formats: [TopicProtobuf.format] }),
 *   { protocols: [TopicProtobuf.format.protocol] }
 * )
 * ```
 *
 * @since 0.1.0
 */
import { protobufCodec } from "./internal/centrifuge/protobufCodec.ts"
import type { Format } from "./TopicServer.ts"

/**
 * The form, for `formats` of `TopicServer.handler` and for `format` of
 * `TopicClient.make`. Its subprotocol is `centrifuge-protobuf`. Payloads are JSON in
 * UTF-8; a client that publishes other bytes is rejected with 107.
 *
 * @stability unstable
 * @category formats
 * @since 0.1.0
 */
export const format: Format = { protocol: "centrifuge-protobuf", codec: protobufCodec }
