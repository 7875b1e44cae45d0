/**
 * Modules of Node, each loaded when it is first used. An import would load them with this library, and also read each name
 * that they export: for that, `node:http` of Node 24 loads all of `fetch`, and `node:process` opens the standard input.
 * These are the default exports, in which programs replace functions such as `dns.lookup`.
 */
import { once } from "./loadOnce.ts"

export const buffer = once(() => process.getBuiltinModule("node:buffer"))
export const crypto = once(() => process.getBuiltinModule("node:crypto"))
export const dns = once(() => process.getBuiltinModule("node:dns"))
export const fs = once(() => process.getBuiltinModule("node:fs"))
export const http = once(() => process.getBuiltinModule("node:http"))
export const http2 = once(() => process.getBuiltinModule("node:http2"))
export const https = once(() => process.getBuiltinModule("node:https"))
export const net = once(() => process.getBuiltinModule("node:net"))
export const os = once(() => process.getBuiltinModule("node:os"))
export const perfHooks = once(() => process.getBuiltinModule("node:perf_hooks"))
export const stream = once(() => process.getBuiltinModule("node:stream"))
export const timers = once(() => process.getBuiltinModule("node:timers"))
export const tls = once(() => process.getBuiltinModule("node:tls"))
export const util = once(() => process.getBuiltinModule("node:util"))
export const workerThreads = once(() => process.getBuiltinModule("node:worker_threads"))
export const zlib = once(() => process.getBuiltinModule("node:zlib"))
