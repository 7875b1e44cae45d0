/** The calls of a list of tasks, for its server and its clients. A page bundles it, so it imports modules by their paths. */
import * as Schema from "effect/Schema"
import * as Rpc from "effect/rpc/Rpc"
import * as RpcGroup from "effect/rpc/RpcGroup"

export class Task extends Schema.Class<Task>("Task")({
  id: Schema.Int,
  title: Schema.NonEmptyString,
  done: Schema.Boolean
}) {}

export class NoSuchTask extends Schema.TaggedError<NoSuchTask>()("NoSuchTask", { id: Schema.Int }) {}

export class Tasks extends RpcGroup.make(
  Rpc.make("Add", { payload: { title: Schema.NonEmptyString }, success: Task }),
  Rpc.make("Complete", { payload: { id: Schema.Int }, success: Task, error: NoSuchTask }),
  /** The list now, and after each change. */
  Rpc.make("Watch", { success: Schema.Array(Task), stream: true })
) {}
