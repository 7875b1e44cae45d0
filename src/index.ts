/**
 * WebSockets for Effect programs.
 *
 * @since 0.1.0
 */
export * as Broker from "./Broker.ts"
export * as BrowserClient from "./BrowserClient.ts"
export * as CloseCode from "./CloseCode.ts"
export * as Connection from "./Connection.ts"
export * as ConnectionError from "./ConnectionError.ts"
export * as Extension from "./Extension.ts"
export * as Frame from "./Frame.ts"
export * as Handshake from "./Handshake.ts"
export * as HandshakeError from "./HandshakeError.ts"
export * as Heartbeat from "./Heartbeat.ts"
export * as Message from "./Message.ts"
export * as MessageClient from "./MessageClient.ts"
export * as MessageConnection from "./MessageConnection.ts"
export * as PerMessageDeflate from "./PerMessageDeflate.ts"
export * as ProtocolError from "./ProtocolError.ts"
export * as Reconnecting from "./Reconnecting.ts"
export * as Socket from "./Socket.ts"
export * as Telemetry from "./Telemetry.ts"
export * as Topic from "./Topic.ts"
export * as Transport from "./Transport.ts"
export * as TypedConnection from "./TypedConnection.ts"
export * as Wake from "./Wake.ts"
export * as WebSocketClient from "./WebSocketClient.ts"
export * as WebSocketServer from "./WebSocketServer.ts"
