/** The numbers of the log, kept as it is sealed: what is asked of months of records must not read them. */
import { sql } from 'drizzle-orm';

import { uuidArray } from '../platform/columns.ts';
import type { Tx } from '../platform/db.ts';
import type { Found } from './unsealed.ts';

/** A longer name of a field is not kept: no row of an index holds much more, and none of ours comes near it. */
const FIELD_BYTES_MAX = 512;

/**
 * Adds records to `audit_hours`, `audit_facets` and `audit_changes`. Belongs in the transaction that seals them: then each is counted once,
 * whoever dies when. One statement for any number of them, its rows written in the order of their keys.
 */
export async function countSealed(tx: Tx, records: readonly Found[]): Promise<void> {
  await tx.execute(sql`
    with sealed as materialized (
      select record.*
      from unnest(${uuidArray(records.map((record) => record.tenant_id))}::uuid[],
        ${uuidArray(records.map(({ id }) => id))}::uuid[]) as sealed (tenant_id, id)
      cross join lateral (
        select tenant_id, id, created_at, action, status, severity, user_id, ip_address, user_agent, changes from audit_logs
        where audit_logs.tenant_id = sealed.tenant_id and audit_logs.id = sealed.id
        -- One look-up a record: as a plain join the planner might read the whole log for it.
        limit 1) as record
    ), hours as (
      insert into audit_hours as known (tenant_id, hour, action, status, severity, count)
      select tenant_id, date_trunc('hour', created_at, 'UTC'), action, status, severity, count(*)
      from sealed group by 1, 2, 3, 4, 5 order by 1, 2, 3, 4, 5
      on conflict (tenant_id, hour, action, status, severity) do update set count = known.count + excluded.count
    ), fields as (
      insert into audit_changes (tenant_id, field, id)
      select distinct tenant_id, path #>> '{}', id
      from sealed cross join lateral jsonb_path_query(changes, '$[*].path') as path
      where octet_length(path #>> '{}') <= ${FIELD_BYTES_MAX} order by 1, 2, 3
    )
    insert into audit_facets as known (tenant_id, day, facet, value, count, failures)
    select tenant_id, date_trunc('day', created_at, 'UTC'), facet, value, count(*),
      count(*) filter (where status <> 'success')
    from sealed
    cross join lateral (values ('actor', user_id::text), ('address', host(ip_address)), ('device', user_agent))
      as seen (facet, value)
    where value is not null
    group by 1, 2, 3, 4 order by 1, 2, 3, 4
    on conflict (tenant_id, day, facet, value)
      do update set count = known.count + excluded.count, failures = known.failures + excluded.failures`);
}
