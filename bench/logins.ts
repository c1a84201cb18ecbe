import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';

import { hash } from 'bcryptjs';
import { Tinypool } from 'tinypool';

import { metric, post } from './client.ts';
import { compared, inTurns, rates, type Table, throughput } from './figures.ts';
import { start } from './processes.ts';
import { furnish, type Stage } from './stage.ts';
import { median } from './statistics.ts';

const DATABASE = 'logins';
/** What a server has unless told. */
const COST = 12;
const WORKERS = availableParallelism();
const LOGIN = 'mutation SignIn($input: LoginInput!) { login(input: $input) { accessToken refreshToken } }';

/** Sign-ins over HTTP, in turns with bare comparisons of bcryptjs at the same cost in as many threads as the server has for them. */
export async function loginCost(stage: Stage): Promise<Table[]> {
  const { rounds, roundMs } = stage.quick ? { rounds: 4, roundMs: 3_000 } : { rounds: 12, roundMs: 10_000 };
  await stage.emptyDatabase(DATABASE);
  const settings = { PASSWORD_COST: String(COST), PASSWORD_WORKERS: String(WORKERS) };
  const { url, stop } = await start('serve', { ...stage.env(DATABASE), ...settings });
  const password = 'correct horse battery';
  const task = { password, hash: await hash(password, COST) };
  const filename = fileURLToPath(new URL('compareWorker.mjs', import.meta.url));
  const pool = new Tinypool({ filename, name: 'compare', minThreads: WORKERS, maxThreads: WORKERS });
  try {
    // Twice as many as threads, so that none of those ever waits for a client.
    const clients: (() => Promise<unknown>)[] = [];
    for (let at = 0; at < 2 * WORKERS; at++) {
      const { credentials } = await furnish(url);
      clients.push(() => post(url, undefined, { query: LOGIN, variables: { input: credentials } }));
    }
    const bare = clients.map(() => () => pool.run(task));
    const delays: number[] = [];
    const signIns = async () => {
      // Reading the delay begins it anew.
      await metric(url, 'nodejs_eventloop_lag_p99_seconds');
      const rate = await throughput(clients, roundMs);
      delays.push((await metric(url, 'nodejs_eventloop_lag_p99_seconds')) * 1_000);
      return rate;
    };
    const compares = () => throughput(bare, roundMs);
    await signIns();
    await compares();
    delays.length = 0;
    const pairs = await inTurns(rounds, signIns, compares);
    return [
      {
        title: `Sign-ins a second, ${WORKERS} threads, bcrypt cost ${COST}`,
        figures: [
          compared(
            `${2 * WORKERS} clients`,
            pairs,
            (each, at) => rates(at === 0 ? 'sign-ins' : 'bare bcryptjs', each),
            { atLeast: 0.9 },
          ),
        ],
      },
      {
        title: 'The server meanwhile',
        figures: [
          {
            label: 'event-loop delay, p99 of a round',
            sides: [{ name: 'Custos', unit: 'ms', p50: median(delays) }],
            target: { atMost: 20 },
          },
        ],
      },
    ];
  } finally {
    await pool.destroy();
    await stop();
  }
}
