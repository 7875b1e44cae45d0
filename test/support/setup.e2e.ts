/** The end-to-end tests run what is built, and the examples of guides: they are built from the sources as they are now. */
import { execFileSync } from "node:child_process"
import { writeExamples } from "../../scripts/doc-examples.mjs"

export default (): void => {
  execFileSync("npm", ["run", "build"], { stdio: "inherit" })
  writeExamples()
}
