/** Bundles for browsers, of the built package, as a project that uses it would make them. */
import { Effect } from "effect"
import { build, type BuildOptions, type Metafile } from "esbuild"
import { fileURLToPath } from "node:url"
import { gzipSync } from "node:zlib"

const root = fileURLToPath(new URL("../..", import.meta.url))

export interface Bundle {
  readonly code: string
  readonly gzip: number
  readonly inputs: Metafile["inputs"]
}

/** Bundles a module, given as text or as the path of its file. Dies if the bundle would import a module of Node. */
export const bundle = (
  entry: { readonly contents: string } | { readonly path: string },
  options?: BuildOptions
): Effect.Effect<Bundle> =>
  Effect.promise(async () => {
    const { metafile, outputFiles } = await build({
      ..."path" in entry ? { entryPoints: [entry.path] } : { stdin: { contents: entry.contents, resolveDir: root } },
      bundle: true,
      minify: true,
      format: "esm",
      platform: "browser",
      target: "es2022",
      write: false,
      metafile: true,
      logLevel: "silent",
      // Without the paths of this project's own tsconfig, which lead to the sources.
      tsconfigRaw: {},
      ...options
    })
    return {
      code: outputFiles![0].text,
      gzip: gzipSync(outputFiles![0].contents, { level: 9 }).length,
      inputs: metafile!.inputs
    }
  })
