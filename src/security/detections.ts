/**
 * What is suspicious in the log. A rule looks at one record at a time and at what the log says around it; what it finds is a
 * record itself, written by the system, which names its evidence.
 */
import type { SystemAct } from '../audit/record.ts';
import type { AuditLogRow } from '../audit/tables.ts';
import type { EffectiveSettings } from '../tenants/tables.ts';
import { GUESSING_RULES } from './guessing.ts';
import { MISUSE_RULES } from './misuse.ts';
import type { Rule } from './rule.ts';
import { WHEREABOUTS_RULES } from './whereabouts.ts';

export const RULES: readonly Rule[] = [...GUESSING_RULES, ...WHEREABOUTS_RULES, ...MISUSE_RULES];

/** Whether any rule judges the record: for the others there is no need to know the settings. */
export function isJudged(row: AuditLogRow): boolean {
  return RULES.some((rule) => rule.judges(row));
}

/** Judges a record by every rule and puts on record what is suspicious. Judged again, it finds nothing new. */
export async function judge(
  act: SystemAct<'detection'>,
  row: AuditLogRow,
  settings: EffectiveSettings,
): Promise<void> {
  for (const { action, find, about } of RULES.filter(({ judges }) => judges(row))) {
    const details = await find(act, row, settings);
    if (!details) continue;
    const { tenantId, requestId, ipAddress } = row;
    await act.record({ action, tenantId, requestId, ipAddress, details, ...(await about(row, act)) });
  }
}
