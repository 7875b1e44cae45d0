/** permessage-deflate at work in one connection: decides which messages to compress, and marks them with RSV1 (RFC 7692 §6). */
import * as Effect from "effect/Effect"
import { isUint8Array } from "#platform"
import type * as Extension from "../../Extension.ts"
import { Frame, Opcode, Reserved } from "../protocol/frame.ts"
import { InvalidExtensionData, MessageTooLarge } from "../../ProtocolError.ts"
import type { Deflater, Inflater } from "./codec.ts"
import type { TrafficCounter } from "./trafficCounter.ts"

/** What a session needs beside its two codecs. */
export interface SessionOptions {
  /** The size in bytes below which an unfragmented message is sent uncompressed. */
  readonly threshold: number
  /**
   * Whether a message that compression does not shorten is sent uncompressed. The
   * next message must not refer to it then: only without context takeover.
   */
  readonly canSendUncompressed: boolean
  /** Compresses messages for several connections at once. */
  readonly shared: Extension.SharedEncoder
  readonly sent: TrafficCounter
  readonly received: TrafficCounter
}

export class DeflateSession implements Extension.Session {
  readonly acceptsPieces = true
  readonly shared: Extension.SharedEncoder
  private readonly deflater: Deflater
  private readonly inflater: Inflater
  private readonly threshold: number
  private readonly canSendUncompressed: boolean
  private readonly sent: TrafficCounter
  private readonly received: TrafficCounter
  /** Whether the message that is being sent is compressed. */
  private isCompressing = false

  constructor(deflater: Deflater, inflater: Inflater, options: SessionOptions) {
    this.deflater = deflater
    this.inflater = inflater
    this.shared = options.shared
    this.threshold = options.threshold
    this.canSendUncompressed = options.canSendUncompressed
    this.sent = options.sent
    this.received = options.received
  }

  readonly encode = (frame: Frame, options: Extension.SendOptions): Frame | Effect.Effect<Frame> => {
    const { fin, opcode, payload } = frame
    if (opcode !== Opcode.Continuation) {
      // The size of a fragmented message is unknown: it is always compressed.
      const isLongEnough = !fin || (payload.length > 0 && payload.length >= this.threshold)
      this.isCompressing = options.compress !== false && isLongEnough
    }
    if (!this.isCompressing) return frame
    const compressed = this.deflater.deflate(payload, fin)
    return isUint8Array(compressed)
      ? this.encoded(frame, compressed)
      : Effect.map(compressed, (bytes) => this.encoded(frame, bytes))
  }

  private encoded({ fin, opcode, payload, reserved }: Frame, compressed: Uint8Array): Frame {
    const isFirst = opcode !== Opcode.Continuation
    if (this.canSendUncompressed && isFirst && fin && compressed.length >= payload.length) {
      return new Frame(opcode, payload, fin, reserved)
    }
    this.sent.add(payload.length, compressed.length)
    return new Frame(opcode, compressed, fin, isFirst ? reserved | Reserved.Rsv1 : reserved)
  }

  readonly onShared = (): void => this.deflater.restart()

  readonly decode = (
    frame: Frame,
    budget: Extension.SizeBudget
  ): Frame | Extension.DecodeError | Effect.Effect<Frame, Extension.DecodeError> => {
    const inflated = this.inflater.inflate(frame.payload, frame.fin, budget)
    if (isUint8Array(inflated)) return this.decoded(frame, inflated)
    return inflated instanceof InvalidExtensionData || inflated instanceof MessageTooLarge
      ? inflated
      : Effect.map(inflated, (bytes) => this.decoded(frame, bytes))
  }

  private decoded({ fin, opcode, payload, reserved }: Frame, inflated: Uint8Array): Frame {
    this.received.add(inflated.length, payload.length)
    return new Frame(opcode, inflated, fin, reserved & ~Reserved.Rsv1)
  }

  close(): void {
    this.deflater.close()
    this.inflater.close()
  }
}
