/**
 * Spans, for whoever has an OpenTelemetry SDK: without one they cost two microseconds and go nowhere. A span tells what was done
 * and how it ended in our own words (names of mutations, reasons, ids of records), never what a caller has sent.
 */
import {
  type Attributes,
  context,
  propagation,
  ROOT_CONTEXT,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';

import { Refusal } from './refusal.ts';

/** Asks for the SDK at each span: one that is registered later counts from then on. */
const tracer = trace.getTracer('custos');

/** What a refusal is nobody's fault but ours by. */
const OUR_FAULTS: readonly string[] = ['INTERNAL_SERVER_ERROR', 'AUDIT_UNAVAILABLE'];

/** Does the work in a span, which says so when it fails. */
export async function spanned<T>(name: string, attributes: Attributes, work: () => Promise<T>): Promise<T> {
  return await tracer.startActiveSpan(name, { attributes }, async (span) => {
    try {
      return await work();
    } catch (cause) {
      span.setAttribute('error.type', nameOf(cause));
      if (!(cause instanceof Refusal) || OUR_FAULTS.includes(cause.code)) {
        span.setStatus({ code: SpanStatusCode.ERROR });
      }
      throw cause;
    } finally {
      span.end();
    }
  });
}

/** As `spanned`, where there is a span already; what the sealer and the tail look at all the time is worth none. */
export async function spannedWithin<T>(
  name: string,
  attributes: Attributes,
  work: () => Promise<T>,
): Promise<T> {
  return await (trace.getActiveSpan() ? spanned(name, attributes, work) : work());
}

/** As `spanned`, below the span that `traceparent` names, unless an instrumentation of HTTP has taken care of that. */
export async function spannedFrom<T>(headers: object, name: string, work: () => Promise<T>): Promise<T> {
  const active = context.active();
  const parent = trace.getSpan(active) ? active : propagation.extract(active, headers);
  return await context.with(parent, () => spanned(name, {}, work));
}

/** Names the span at hand after an operation. Where there is none, on a socket, the work gets one. */
export async function spannedOperation<T>(type: string, field: string, work: () => Promise<T>): Promise<T> {
  const name = `${type} ${field}`;
  const attributes = { 'graphql.operation.type': type };
  const span = trace.getActiveSpan();
  if (!span) return await spanned(name, attributes, work);
  span.updateName(name).setAttributes(attributes);
  return await work();
}

/** Adds to the span at hand. */
export function describe(attributes: Attributes): void {
  trace.getActiveSpan()?.setAttributes(attributes);
}

/** Does what outlives the caller outside of the caller's span. */
export function apart<T>(work: () => T): T {
  return context.with(ROOT_CONTEXT, work);
}

/** No message: it might hold a value. */
function nameOf(cause: unknown): string {
  if (cause instanceof Refusal) return cause.reason;
  return cause instanceof Error ? cause.name : 'Error';
}
