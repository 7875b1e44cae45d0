/** The end-to-end tests run what is built: it is built from the sources as they are now. */
import { execFileSync } from "node:child_process"

export default (): void => {
  execFileSync("npm", ["run", "build"], { stdio: "inherit" })
}
