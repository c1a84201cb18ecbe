import type { AuditLogRow } from './tables.ts';
import { AUDIT_CATALOGUE } from '../generated/catalogue.ts';
import type { AuditAction } from '../generated/types.ts';

const FACTS = Object.entries(AUDIT_CATALOGUE) as [AuditAction, (typeof AUDIT_CATALOGUE)[AuditAction]][];
const ACTION_OF_KEY = new Map<string, AuditAction>(FACTS.map(([action, { key }]) => [key, action]));

/** The SDL's name of a record's action. */
export function actionOf({ action }: Pick<AuditLogRow, 'action'>): AuditAction {
  return ACTION_OF_KEY.get(action)!;
}
