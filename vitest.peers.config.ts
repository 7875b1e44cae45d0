import { defineConfig } from "vitest/config"
import base, { peers } from "./vitest.config.ts"

export default defineConfig({
  ...base,
  test: {
    include: peers,
    globalSetup: "test/support/setup.peers.ts",
    testTimeout: 60_000,
    hookTimeout: 60_000,
    fileParallelism: false
  }
})
