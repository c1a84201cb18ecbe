import { sql } from 'drizzle-orm';
import { check, pgTable, primaryKey, text, uuid } from 'drizzle-orm/pg-core';

import type { SecurityEventState } from '../generated/types.ts';
import { bigint, timestamptz } from '../platform/columns.ts';

/** What became of a security event; one without a row is open. */
export const securityEventStates = pgTable(
  'security_event_states',
  {
    tenantId: uuid('tenant_id').notNull(),
    /** The event's record. */
    logId: uuid('log_id').notNull(),
    state: text('state').$type<SecurityEventState>().notNull(),
    note: text('note'),
    changedBy: uuid('changed_by').notNull(),
    changedAt: timestamptz('changed_at').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.logId] }),
    check('security_event_states_state', sql`state in ('OPEN', 'ACKNOWLEDGED', 'RESOLVED')`),
  ],
);

/** How far each detection has looked at the sealed log. Its row lock is the election among processes. */
export const securityDetectors = pgTable('security_detectors', {
  name: text('name').primaryKey(),
  /** The next global position to look at. */
  pos: bigint('pos').notNull(),
});
