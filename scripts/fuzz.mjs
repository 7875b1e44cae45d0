/** Runs test/fuzz/main.ts as the tests are run: the sources as they are, nothing built. */
import { createViteServer } from "vitest/node"

const server = await createViteServer({
  configFile: "vitest.config.ts",
  appType: "custom",
  server: { middlewareMode: true, watch: null, ws: false }
})
const { main } = await server.ssrLoadModule("/test/fuzz/main.ts")
const code = await main(process.argv.slice(2))
await server.close()
process.exit(code)
