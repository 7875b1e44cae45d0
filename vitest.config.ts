import { fileURLToPath } from "node:url"
import { configDefaults, defineConfig } from "vitest/config"

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url))

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
    coverage: { include: ["src/**"], reporter: ["text"] }
  }
})
