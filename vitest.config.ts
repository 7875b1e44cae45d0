import { fileURLToPath } from "node:url"
import { configDefaults, defineConfig } from "vitest/config"

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** The rooms of the protocol, without I/O: each branch of them is tested. */
const protocol =
  "src/{Frame,Message,CloseCode,Handshake,Extension,ProtocolError,internal/{protocol,utf8,mask,bytes,headers}}.ts"

/** Tests of peers that npm does not give. */
export const peers = ["test/interop/*.peer.test.ts"]

export default defineConfig({
  resolve: {
    alias: [
      { find: /^effect-ws$/, replacement: source("./src/index.ts") },
      { find: /^effect-ws\/(.*)$/, replacement: source("./src/$1.ts") }
    ]
  },
  test: {
    include: ["test/**/*.test.ts"],
    exclude: [...configDefaults.exclude, ...peers],
    coverage: {
      include: ["src/**"],
      // Nothing but names.
      exclude: ["src/index.ts"],
      reporter: ["text"],
      thresholds: { perFile: true, branches: 95, [protocol]: { perFile: true, branches: 100 } }
    }
  }
})
