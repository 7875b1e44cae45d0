import * as Data from "effect/Data"

/** The defect of a server that is asked to serve a second handler. No program can recover from it: it is wired wrongly. */
export class AlreadyServing extends Data.TaggedError("AlreadyServing") {
  override get message(): string {
    return "WebSocketServer.serve: expected a server without a handler, got one that serves a handler already; " +
      "use a server for each handler, or close the Scope of the first"
  }
}
