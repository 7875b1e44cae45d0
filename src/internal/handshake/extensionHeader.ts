/** Writes the Sec-WebSocket-Extensions header of a request or response. */
import * as Result from "effect/Result"
import * as Extension from "../../Extension.ts"
import type { RawHeaders } from "../../Handshake.ts"
import { InvalidHeader } from "../../HandshakeError.ts"
import { isToken } from "../protocol/headerSyntax.ts"

const header = "Sec-WebSocket-Extensions"

/** Returns the header; without extensions, no header. */
export const extensionHeader = (
  extensions: ReadonlyArray<Extension.HeaderEntry> = []
): Result.Result<RawHeaders, InvalidHeader> => {
  if (extensions.length === 0) return Result.succeed([])
  const value = Extension.format(extensions)
  const tokens = extensions.flatMap(({ name, parameters }) => [
    name,
    ...parameters.flatMap((parameter) => [parameter.name, parameter.value ?? parameter.name])
  ])
  return tokens.every(isToken)
    ? Result.succeed([[header, value]])
    : Result.fail(
      new InvalidHeader({ header, problem: "expected tokens as names and values" })
    )
}
