import { isRecord, type Refusal } from './request.ts';

export interface EventSummary {
  /** When it happened, if the event says so. */
  readonly at: Date | null;
  readonly text: string;
  /** Whether it is worth a colour. */
  readonly grave: boolean;
}

const GRAVE = new Set<unknown>(['FAILURE', 'ERROR', 'WARNING', 'CRITICAL']);

/** One line about an event, from those of our fields that the subscription selected; JSON if it selected none. */
export function summaryOf(node: unknown, refusal: Refusal | null): EventSummary {
  if (refusal) {
    const facts = [refusal.message, refusal.code, refusal.reason];
    return { at: null, text: facts.filter(Boolean).join(' · '), grave: true };
  }
  if (!isRecord(node)) return { at: null, text: JSON.stringify(node), grave: false };
  const actor = isRecord(node.actor) ? (node.actor.email ?? node.actor.name ?? node.actor.type) : undefined;
  const { action, status, email, reason, resource, resourceName, ipAddress, severity } = node;
  const outcome = status ?? (action === undefined ? undefined : severity);
  const facts = [action, outcome, email, reason, actor, resourceName ?? resource, ipAddress];
  const text = facts.filter((fact) => typeof fact === 'string' && fact !== '').join(' · ');
  return {
    at: dateOf(node.occurredAt ?? node.createdAt),
    text: text || JSON.stringify(node),
    grave: GRAVE.has(status) || GRAVE.has(severity) || 'reason' in node,
  };
}

/** Local time of day with milliseconds. */
export function timeOf(date: Date): string {
  const pad = (value: number, width: number) => String(value).padStart(width, '0');
  const [hours, minutes, seconds] = [date.getHours(), date.getMinutes(), date.getSeconds()];
  return `${pad(hours, 2)}:${pad(minutes, 2)}:${pad(seconds, 2)}.${pad(date.getMilliseconds(), 3)}`;
}

function dateOf(value: unknown): Date | null {
  const date = typeof value === 'string' ? new Date(value) : null;
  return date && !Number.isNaN(date.getTime()) ? date : null;
}
