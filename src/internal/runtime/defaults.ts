/** Defaults that clients and servers share. */
import * as Duration from "effect/Duration"

export const defaultHandshakeTimeout = Duration.seconds(10)
