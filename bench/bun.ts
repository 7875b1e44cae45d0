/** Bun, whose binary is at the path in the environment variable BUN. */
import { existsSync } from "node:fs"

const path = process.env["BUN"]

/** The path of its binary, if there is one. */
export const bunPath = path !== undefined && existsSync(path) ? path : undefined

/** The parts of Bun that are used here. Its types are not installed. */
export interface BunRuntime {
  readonly serve: (options: object) => BunServer
}

export interface BunServer {
  readonly port: number
  readonly publish: (topic: string, text: string) => void
  readonly upgrade: (request: Request, options?: object) => boolean
}

export interface BunSocket<Data = undefined> {
  readonly data: Data
  readonly subscribe: (topic: string) => void
  /** To all subscribers but this one. */
  readonly publish: (topic: string, message: string | Uint8Array, compress: boolean) => void
}
