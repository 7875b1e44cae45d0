import { fileURLToPath } from "node:url"
import { configDefaults, defineConfig } from "vitest/config"

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** Tests that need more than npm gives. */
export const peers = ["test/interop/*.chromium.test.ts"]

export default defineConfig({
  resolve: {
    alias: [
      { find: /^effect-ws$/, replacement: source("./src/index.ts") },
      { find: /^effect-ws\/(.*)$/, replacement: source("./src/$1.ts") }
    ]
  },
  test: {
    include: ["test/**/*.test.ts"],
    exclude: [...configDefaults.exclude, ...peers]
  }
})
