/** What an orchestrator asks: whether the process lives, and whether it is to be sent requests. */
import type { FastifyInstance } from 'fastify';

import type { Months } from '../audit/months.ts';
import type { Sealer } from '../audit/seal.ts';
import type { Database } from '../platform/db.ts';
import { hasKnownMigrations } from '../platform/migrate.ts';

/** A healthy sealer is behind by less than half a second. */
const SEALER_LAG_MS_MAX = 10_000;
const DATABASE_MS_MAX = 2_000;
/** Anybody may ask: however often they do, the database is asked once in this time. */
const ANSWER_MS = 500;

export interface Health {
  /** Adds `/healthz` and `/readyz`. */
  serve(app: FastifyInstance): void;
  /** From now on it is not ready. */
  drain(): void;
}

export interface HealthOptions {
  readonly db: Database;
  readonly sealer: Pick<Sealer, 'progress'>;
  readonly months: Pick<Months, 'agree'>;
}

type Check = 'ok' | 'failing';
type Checks = Readonly<Record<'draining' | 'database' | 'migrations' | 'sealer' | 'clock', Check>>;

/**
 * `/healthz` answers 200 as long as the process answers at all: a database that is away is no reason to restart it.
 * `/readyz` answers 200, or 503 with the name of what fails: `database` answers within two seconds, `migrations` are those of
 * this build, `sealer` is less than ten seconds behind, `clock` is within a day of the database's, and the server is not `draining`.
 */
export function openHealth({ db, sealer, months }: HealthOptions): Health {
  let draining = false;
  let asked: { readonly at: number; readonly answer: Promise<Pick<Checks, 'database' | 'migrations'>> };
  return {
    serve(app) {
      // Asked every few seconds for ever: not worth a line of the log each time.
      const route = { logLevel: 'warn' } as const;
      app.get('/healthz', route, async (_request, reply) => {
        void reply.header('cache-control', 'no-store');
        return { status: 'ok' };
      });
      app.get('/readyz', route, async (_request, reply) => {
        const checks = await check();
        const ready = Object.values(checks).every((each) => each === 'ok');
        void reply.code(ready ? 200 : 503).header('cache-control', 'no-store');
        return { status: ready ? 'ready' : 'not ready', checks };
      });
    },
    drain() {
      draining = true;
    },
  };

  async function check(): Promise<Checks> {
    if (!asked || performance.now() - asked.at > ANSWER_MS) {
      asked = { at: performance.now(), answer: askDatabase(db) };
    }
    const found = await asked.answer;
    const verdict = (fine: boolean): Check => (fine ? 'ok' : 'failing');
    return {
      ...found,
      sealer: verdict(sealer.progress().lagMs < SEALER_LAG_MS_MAX),
      clock: verdict(months.agree()),
      draining: verdict(!draining),
    };
  }
}

async function askDatabase(db: Database): Promise<Pick<Checks, 'database' | 'migrations'>> {
  try {
    const known = await db.withReadTx('PLATFORM', hasKnownMigrations, { deadlineMs: DATABASE_MS_MAX });
    return { database: 'ok', migrations: known ? 'ok' : 'failing' };
  } catch {
    return { database: 'failing', migrations: 'failing' };
  }
}
