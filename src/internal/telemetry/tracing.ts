/**
 * Spans of handshakes and connections. Without a tracer, this module makes no spans,
 * and costs one look-up.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Headers from "effect/http/Headers"
import * as HttpTraceContext from "effect/http/HttpTraceContext"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Tracer from "effect/Tracer"
import type { Role } from "../../Frame.ts"
import type { RawHeaders } from "../../Handshake.ts"
import { TraceContext } from "../../Telemetry.ts"
import { combineHeaders } from "../protocol/headerSyntax.ts"

type Any = Context.Context<never>

/** Whether the program has set up a tracer. Effect's default tracer discards spans. */
const traces = (context: Any): boolean =>
  Context.getOrUndefined(context, Tracer.Tracer) !== undefined && Context.get(context, References.TracerEnabled)

export const startSpan = (
  context: Any,
  name: string,
  kind: Role,
  options: () => Tracer.SpanOptionsNoTrace
): Tracer.Span | undefined =>
  traces(context) ? Effect.runSyncWith(context)(Effect.makeSpan(name, { ...options(), kind })) : undefined

export const endSpan = (span: Tracer.Span, context: Any, exit: Exit.Exit<unknown, unknown>): void =>
  span.end(Context.get(context, Clock.Clock).currentTimeNanosUnsafe(), exit)

/** Starts the span of a server's handshake, which continues the trace of the request. */
export const startServerHandshake = (
  context: Any,
  { rawHeaders }: { readonly rawHeaders: RawHeaders },
  attributes: () => Record<string, unknown>
): Tracer.Span | undefined => {
  return startSpan(context, "websocket.handshake", "server", () => {
    const parent = Context.get(context, TraceContext).accept
      ? Option.getOrUndefined(HttpTraceContext.fromHeaders(Headers.fromRecordUnsafe(combineHeaders(rawHeaders))))
      : undefined
    // The span in which the server was started is not the parent of its requests.
    return { ...parent === undefined ? { root: true } : { parent }, attributes: attributes() }
  })
}

/** Makes a span the current one of a context. */
export const within = <R>(context: Context.Context<R>, span: Tracer.Span | undefined): Context.Context<R> =>
  span === undefined ? context : Context.add(context, Tracer.ParentSpan, span) as Context.Context<R>

/** Returns the headers (W3C Trace Context §3.2) that continue the trace of the current span at the server. */
export const traceHeaders = (context: Any): Readonly<Record<string, string>> => {
  const current = Context.getOrUndefined(context, Tracer.ParentSpan)
  if (current === undefined || !Context.get(context, TraceContext).send) return {}
  if (Context.get(current.annotations, Tracer.DisablePropagation)) return {}
  const { sampled, spanId, traceId } = current
  return { traceparent: `00-${traceId.padStart(32, "0")}-${spanId}-${sampled ? "01" : "00"}` }
}
