import type { AuditLogFilter } from '../src/generated/types.ts';
import { SEEDED, type Stage } from './stage.ts';

const DAY_MS = 86_400_000;

/** What the log of a tenant has in it, so that each filter finds something. */
interface Sample {
  readonly tenantId: string;
  readonly userId: string;
  readonly resourceId: string;
  readonly ipAddress: string;
  readonly requestId: string;
  /** Ten days of the last month. */
  readonly createdAt: { readonly from: string; readonly to: string };
}

/** Each field of the filter by itself, with a value that is common in the tenant; then some together. */
const FILTERS: {
  readonly [Field in keyof Required<AuditLogFilter> | 'none']: (sample: Sample) => AuditLogFilter;
} = {
  none: () => ({}),
  tenantId: ({ tenantId }) => ({ tenantId }),
  userId: ({ userId }) => ({ userId }),
  actions: () => ({ actions: ['LOGIN', 'USER_UPDATED'] }),
  categories: () => ({ categories: ['USER'] }),
  resources: () => ({ resources: ['USER'] }),
  resourceId: ({ resourceId }) => ({ resourceId }),
  statuses: () => ({ statuses: ['FAILURE', 'ERROR'] }),
  minSeverity: () => ({ minSeverity: 'WARNING' }),
  ipAddress: ({ ipAddress }) => ({ ipAddress }),
  ipRange: ({ ipAddress }) => ({ ipRange: ipAddress.replace(/\.\d+$/, '.0/24') }),
  requestId: ({ requestId }) => ({ requestId }),
  createdAt: ({ createdAt }) => ({ createdAt }),
  changedField: () => ({ changedField: 'phone' }),
  text: ({ createdAt }) => ({ text: 'firefox', createdAt }),
  and: ({ userId }) => ({ and: [{ userId }, { actions: ['LOGIN'] }] }),
  or: ({ userId, resourceId }) => ({ or: [{ userId }, { resourceId }] }),
  not: () => ({ not: { actions: ['LOGIN'] } }),
};

/** The documented filters for a tenant's log, by name. */
export async function filtersFor(
  stage: Stage,
  tenantId: string,
): Promise<readonly (readonly [string, AuditLogFilter])[]> {
  const { until } = await stage.seeded();
  const daysBefore = (days: number) => new Date(Date.parse(until) - days * DAY_MS).toISOString();
  const sample = await stage.asOwner(SEEDED, async (sql): Promise<Sample> => {
    const mostFrequent = async (column: string): Promise<string> => {
      const [row] = await sql<{ value: string }[]>`
        select ${sql(column)}::text as value from audit_logs where tenant_id = ${tenantId} and ${sql(column)} is not null
        group by 1 order by count(*) desc limit 1`;
      return row!.value;
    };
    const [middle] = await sql<{ requestId: string }[]>`
      select request_id as "requestId" from audit_logs where tenant_id = ${tenantId} and created_at < ${daysBefore(60)}
      order by id desc limit 1`;
    return {
      tenantId,
      userId: await mostFrequent('user_id'),
      resourceId: await mostFrequent('resource_id'),
      ipAddress: (await mostFrequent('ip_address')).replace(/\/.*/, ''),
      requestId: middle!.requestId,
      createdAt: { from: daysBefore(20), to: daysBefore(10) },
    };
  });
  return Object.entries(FILTERS).map(([name, filterOf]) => [name, filterOf(sample)]);
}
