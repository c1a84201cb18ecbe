/** Attacks on sign-ins, and what the detector made of them. */
import { expect } from 'vitest';

import { idAt, isoOf } from '../../src/platform/ids.ts';
import { holdLog } from './locks.ts';
import { PASSWORD, type Person, type World, world } from './server.ts';
import { until } from './wait.ts';

const MINUTE_MICROS = 60_000_000n;

/** All that a detection says. */
export const DETAILS_OF_ALL = `id action severity state evidence(first: 10) { totalCount nodes { id } }
  log { id status tenantId resource resourceId resourceName ipAddress userAgent userId requestId details
    actor { type name } context { transport } }`;

/** A tenant whose administrator sees everything, a member to attack, and ways to attack it. */
export async function peopleAtRisk(env: Readonly<Record<string, string>> = {}) {
  const here = await world({ TRUSTED_PROXIES: '127.0.0.1', ...env });
  const { admin, id, subdomain } = await here.tenant();
  const member = await here.user(admin, 'MEMBER');
  const { admin: database } = here.database;
  return {
    here,
    admin,
    member,
    subdomain,
    /** A sign-in with a wrong password. */
    fail: async (email: string, from = '192.0.2.1', tenant?: string) => {
      const { errors } = await here.anybody.ask(
        'mutation ($input: LoginInput!) { login(input: $input) { expiresAt } }',
        { input: { email, password: 'wrong password', tenant } },
        { 'x-forwarded-for': from },
      );
      expect(errors).toHaveLength(1);
    },
    /** Sign-ins that failed so long ago, a second apart. */
    attack: async (whom: Person, { attempts, minutesAgo }: { attempts: number; minutesAgo: number }) => {
      const { services } = here.server.house;
      const begin = services.clock.now() - BigInt(minutesAgo) * MINUTE_MICROS;
      const records = Array.from({ length: attempts }, (_, at) => begin + BigInt(at) * 1_000_000n);
      for (const micros of records) {
        await database`
          insert into audit_logs (tenant_id, id, created_at, operation_id, schema_version, actor, action, resource, resource_id,
            status, failure, severity, security, ip_address, request_id, context, details, changes, subject_hmac, leaf_hash)
          values (${id}, ${idAt(micros)}, ${isoOf(micros)}, gen_random_uuid(), 1, '{"type": "ANONYMOUS"}', 'auth.login_failed',
            'USER', ${whom.id}, 'failure', 'INVALID_CREDENTIALS', 2, true, '192.0.2.1', 'r', '{"transport": "HTTP"}', '{}', '[]',
            ${services.vault.emailHmac(whom.email)}, sha256(''))`;
      }
    },
    /** A sign-in with the right password. */
    signIn: async ({ email }: Person, from: string, userAgent?: string) => {
      const { errors } = await here.anybody.ask(
        'mutation ($input: LoginInput!) { login(input: $input) { expiresAt } }',
        { input: { email, password: PASSWORD } },
        { 'x-forwarded-for': from, ...(userAgent ? { 'user-agent': userAgent } : {}) },
      );
      expect(errors).toEqual([]);
    },
    /** Brings what somebody has signed in so far back in time. */
    longAgo: async ({ id: userId }: Person, days: number) => {
      const { clock } = here.server.house.services;
      const then = clock.now() - BigInt(days) * 24n * 60n * MINUTE_MICROS;
      await database.begin(async (sql) => {
        await sql`set local session_replication_role = replica`;
        await sql`update users set created_at = ${isoOf(then)} where id = ${userId}`;
        for (const { id: old } of await sql`
          select id from audit_logs where user_id = ${userId} and action = 'auth.login'`)
          await sql`update audit_logs set id = ${idAt(clock.now() - BigInt(days) * 24n * 60n * MINUTE_MICROS)},
            created_at = ${isoOf(then)} where id = ${old as string}`;
      });
    },
    /** Sets what the tenant thinks suspicious. */
    set: async (security: object) => {
      const { errors } = await admin.do('updateSettings', { security });
      expect(errors).toEqual([]);
    },
  };
}

export interface Detection {
  readonly id: string;
  readonly action: string;
  readonly severity: string;
  readonly evidence: { readonly totalCount: number; readonly nodes: readonly { readonly id: string }[] };
  // oxlint-disable-next-line typescript/no-explicit-any -- a record with personal details in it
  readonly log: any;
}

/** The detections a reader sees, newest first. */
export async function detectionsOf(reader: Person, minSeverity = 'ERROR'): Promise<Detection[]> {
  const { data, errors } = await reader.ask(
    `{ securityEvents(filter: { minSeverity: ${minSeverity} }, first: 10) { nodes { ${DETAILS_OF_ALL} } } }`,
  );
  expect(errors).toEqual([]);
  return data.securityEvents.nodes as Detection[];
}

/** Resolves when every record is sealed and judged. */
export async function judged({ database: { admin } }: World): Promise<void> {
  await until(
    'every record is judged',
    async () => {
      const [row] = await admin`
      select (select count(*) from audit_logs) = (select pos from security_detectors) as judged`;
      return row!['judged'] === true;
    },
    15_000,
  );
}

/** Keeps every detector from judging, as another process would that holds the election. */
export async function holdDetection({ database: { admin } }: World) {
  const holder = await admin.reserve();
  await holder`begin`;
  await holder`select from security_detectors for update`;
  const release = async () => {
    await holder`rollback`;
    holder.release();
  };
  return {
    release,
    /** Lets a detector judge, until it wants to write: its process can then be killed. */
    async releaseIntoWriting() {
      const [sealed] = await admin`select count(*)::int as records from audit_logs`;
      await until('all are sealed', async () => {
        const [seals] = await admin`select coalesce(sum(count), 0)::int as records from audit_seals`;
        return seals!['records'] === sealed!['records'];
      });
      await release();
      const log = await holdLog(admin);
      await log.waiting(1);
      return {
        async kill() {
          await admin`select pg_terminate_backend(pid) from pg_locks where not granted
            and pid in (select pid from pg_stat_activity where datname = current_database())`;
          await log.release();
        },
      };
    },
  };
}
