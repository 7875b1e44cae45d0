/** Bundles the pages of the examples, once tsc has compiled them, as `page.bundle.js` beside the compiled files. */
import { build } from "esbuild"
import { fileURLToPath } from "node:url"

const built = new URL("../build/examples/", import.meta.url)
const sources = new URL("../examples/", import.meta.url)

/** The page of the chat is JavaScript, which tsc does not compile. */
const pages = [["browser", built], ["rpc", built], ["chat", sources]]

for (const [folder, source] of pages) {
  await build({
    entryPoints: [fileURLToPath(new URL(`${folder}/page.js`, source))],
    outfile: fileURLToPath(new URL(`${folder}/page.bundle.js`, built)),
    bundle: true,
    minify: true,
    format: "esm",
    platform: "browser",
    target: "es2022",
    logLevel: "warning",
    // The examples import the built package, as a project that uses it would.
    tsconfigRaw: {}
  })
}
