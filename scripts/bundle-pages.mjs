/** Bundles the pages of the examples, once tsc has compiled them: `page.js` becomes `page.bundle.js` beside it. */
import { build } from "esbuild"
import { fileURLToPath } from "node:url"

const examples = new URL("../build/examples/", import.meta.url)

for (const folder of ["browser", "rpc"]) {
  await build({
    entryPoints: [fileURLToPath(new URL(`${folder}/page.js`, examples))],
    outfile: fileURLToPath(new URL(`${folder}/page.bundle.js`, examples)),
    bundle: true,
    minify: true,
    format: "esm",
    platform: "browser",
    target: "es2022",
    logLevel: "warning",
    // The compiled examples import the built package, as a project that uses it would.
    tsconfigRaw: {}
  })
}
