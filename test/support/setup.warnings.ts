/** Before each test file: from then on, a leak of listeners is an uncaught error, which fails the run. */

const failOnLeak = (warning: Error): void => {
  if (warning.name === "MaxListenersExceededWarning") throw warning
}

// Test files may share a process.
const installed = Symbol.for("effect-ws/test/setup.warnings")
if (!Object.hasOwn(process, installed)) {
  Object.defineProperty(process, installed, { value: true })
  process.on("warning", failOnLeak)
}
