/** Checks paths of Unix sockets. */
import { buffer } from "../runtime/builtins.ts"
import { type Checked, invalidOption } from "../runtime/optionChecks.ts"

const { platform } = process

/** The capacity of `sun_path` in bytes, without its final NUL. Windows uses named pipes, which have no such limit. */
const maxPathLength = platform === "win32" ? Infinity : platform === "linux" ? 107 : 103

/** Rejects a path that is too long: Node 20 would silently cut it, and use another socket. */
export const checkUnixPath = (option: string, path: string | undefined): Checked => {
  if (path === undefined) return undefined
  const isAbstract = platform === "linux" && path.startsWith("\0")
  const name = isAbstract ? path.slice(1) : path
  const length = buffer().Buffer.byteLength(name)
  return length > 0 && length <= maxPathLength && (isAbstract || !name.includes("\0"))
    ? undefined
    : invalidOption(option, `a path of 1 to ${maxPathLength} bytes without NUL`, path)
}
