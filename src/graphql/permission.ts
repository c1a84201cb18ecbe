import { type Actor, holds } from '../audit/act.ts';
import type { Scope } from '../generated/types.ts';
import { Refusal } from '../platform/refusal.ts';

/** Refuses an actor that does not hold the scope, and says why as far as the actor may know. */
export function assertMay(actor: Actor, scope: Scope): void {
  if (actor.type === 'ANONYMOUS') throw new Refusal(actor.because ?? 'SIGN_IN_REQUIRED');
  if (holds(actor, scope)) return;
  throw new Refusal((actor.type === 'USER' ? actor.withheld : undefined) ?? 'SCOPE_MISSING');
}
