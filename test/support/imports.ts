/** The imports of modules, as written: what a runtime or a bundler loads. */
import { readFileSync } from "node:fs"
import { assert } from "vitest"
import { parseSync } from "oxc-parser"

export interface Imports {
  /** The specifiers of the modules whose values a module imports or exports. */
  readonly values: ReadonlyArray<string>
  /** Where in the source the module imports others when it runs. */
  readonly dynamic: ReadonlyArray<number>
}

const known = new Map<string, Imports>()

/** Reads the imports of a file. TypeScript erases those of types. */
export const importsOf = (file: string): Imports => {
  const existing = known.get(file)
  if (existing !== undefined) return existing
  const { errors, module, program } = parseSync(file, readFileSync(file, "utf8"))
  assert.deepStrictEqual(errors, [])
  const typesOnly = new Set(
    program.body.flatMap((statement) =>
      (statement.type === "ImportDeclaration" && statement.importKind === "type") ||
        (statement.type === "ExportNamedDeclaration" && statement.exportKind === "type")
        ? [statement.start]
        : []
    )
  )
  const imported = module.staticImports.filter(({ entries, start }) =>
    !typesOnly.has(start) && (entries.length === 0 || entries.some(({ isType }) => !isType))
  )
  const reexported = module.staticExports.flatMap(({ entries, start }) =>
    typesOnly.has(start) ?
      [] :
      entries.flatMap(({ isType, moduleRequest }) => moduleRequest === null || isType ? [] : [moduleRequest.value])
  )
  const imports = {
    values: [...imported.map(({ moduleRequest }) => moduleRequest.value), ...reexported],
    dynamic: module.dynamicImports.map(({ moduleRequest }) => moduleRequest.start)
  }
  known.set(file, imports)
  return imports
}
