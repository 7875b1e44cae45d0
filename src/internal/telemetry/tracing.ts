/**
 * Spans of handshakes and connections. Where no tracer was set up there are
 * none, and finding that out is all that it costs.
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

/** Effect's own tracer keeps spans for nobody; spans are made only for one that somebody has set up. */
const traces = (context: Any): boolean =>
  Context.getOrUndefined(context, Tracer.Tracer) !== undefined && Context.get(context, References.TracerEnabled)

export const startSpan = (
  context: Any,
  name: string,
  kind: Role,
  options?: Tracer.SpanOptionsNoTrace
): Tracer.Span | undefined =>
  traces(context) ? Effect.runSyncWith(context)(Effect.makeSpan(name, { ...options, kind })) : undefined

export const endSpan = (span: Tracer.Span, context: Any, exit: Exit.Exit<unknown, unknown>): void =>
  span.end(Context.get(context, Clock.Clock).currentTimeNanosUnsafe(), exit)

/** The span of a server's handshake, which continues the trace that the request names. */
export const startServerHandshake = (
  context: Any,
  { rawHeaders }: { readonly rawHeaders: RawHeaders },
  attributes: () => Record<string, unknown>
): Tracer.Span | undefined => {
  if (!traces(context)) return undefined
  const parent = Context.get(context, TraceContext).accept
    ? Option.getOrUndefined(HttpTraceContext.fromHeaders(Headers.fromRecordUnsafe(combineHeaders(rawHeaders))))
    : undefined
  // What the server itself was started in is not what a request belongs to.
  const origin = parent === undefined ? { root: true } : { parent }
  return startSpan(context, "websocket.handshake", "server", { ...origin, attributes: attributes() })
}

/** A context in which a span is the current one. */
export const within = <R>(context: Context.Context<R>, span: Tracer.Span | undefined): Context.Context<R> =>
  span === undefined ? context : Context.add(context, Tracer.ParentSpan, span) as Context.Context<R>

/** The headers (W3C Trace Context §3.2) that name the trace which a request belongs to: that of its own span, or else of the program's. */
export const traceHeaders = (context: Any): Readonly<Record<string, string>> => {
  const current = Context.getOrUndefined(context, Tracer.ParentSpan)
  if (current === undefined || !Context.get(context, TraceContext).send) return {}
  if (Context.get(current.annotations, Tracer.DisablePropagation)) return {}
  const { sampled, spanId, traceId } = current
  return { traceparent: `00-${traceId.padStart(32, "0")}-${spanId}-${sampled ? "01" : "00"}` }
}
