import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { beforeAll, expect, onTestFinished, test } from 'vitest';

import { BULKY, follower, placesOf } from '../world/bareSocket.ts';
import { freshDatabase } from '../world/database.ts';
import { openDoor } from '../world/door.ts';
import { build, start } from '../world/process.ts';
import { record } from '../world/records.ts';
import { allSealed } from '../world/seal.ts';
import { LOGIN_ROLE, PASSWORD, post } from '../world/server.ts';
import { until } from '../world/wait.ts';

beforeAll(build);

const CLOSED_TOO_SLOW = 4413;
/** One address may have fifty. */
const STUCK = 40;
const HEALTHY = 10;
const RECORDS = 10;
const EVERY_MS = 100;
const GROWN_MIB_MAX = 250;

test(
  'readers that take nothing cost a server no memory and the others no event, and are let go within thirty seconds',
  { timeout: 120_000 },
  async () => {
    const { adminUrl, admin } = await freshDatabase();
    await admin.unsafe(LOGIN_ROLE);
    const databaseUrl = new URL(adminUrl);
    databaseUrl.username = 'world_login';
    const dataDir = await mkdtemp(path.join(tmpdir(), 'custos-stuck-'));
    onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
    const { url } = await start({
      CUSTOS_DATA_DIR: dataDir,
      DATABASE_URL: databaseUrl.href,
      DATABASE_ADMIN_URL: adminUrl,
      BOOTSTRAP_ADMIN_PASSWORD: PASSWORD,
      LOG_LEVEL: 'warn',
    }).ready();
    const { data } = await post(url, { query: REGISTER });
    const { accessToken, user } = data.register as { accessToken: string; user: { tenantId: string } };
    await allSealed(admin);
    const db = openDoor({ url: adminUrl });
    let written = 0;
    const write = async () => {
      const many = Array.from({ length: RECORDS }, () => ({ tenantId: user.tenantId, details: BULKY }));
      written += (await record(db, ...many)).length;
    };
    const healthy = await Promise.all(Array.from({ length: HEALTHY }, () => follower(url, accessToken)));
    const writeUntil = async (enough: () => Promise<boolean>) => {
      const since = performance.now();
      while (!(await enough())) {
        await write();
        await pause(EVERY_MS);
      }
      return (performance.now() - since) / 1_000;
    };
    const alone = performance.now();
    await writeUntil(async () => performance.now() - alone > 3_000);
    const delaysAlone = healthy.flatMap(({ delays }) => delays.splice(0));
    const before = await metric(url, 'process_resident_memory_bytes');

    const stuck = await Promise.all(Array.from({ length: STUCK }, () => follower(url, accessToken)));
    for (const { socket } of stuck) socket.pause();
    let most = 0;
    const seconds = await writeUntil(async () => {
      most = Math.max(most, await metric(url, 'process_resident_memory_bytes'));
      // One is the detector's.
      return (await metric(url, 'custos_feed_subscribers')) <= HEALTHY + 1;
    });
    const delays = healthy.flatMap((each) => each.delays);

    await until('they have all', () => healthy.every(({ steps }) => placesOf(steps).length === written));
    for (const { steps, code } of healthy) {
      const places = placesOf(steps);
      expect(places).toEqual(Array.from(places, (_, at) => places[0]! + at));
      expect(code).toBeUndefined();
    }
    expect(seconds).toBeLessThan(30);
    const grownMib = (most - before) / 2 ** 20;
    console.log(
      `${STUCK} that read nothing, let go after ${seconds.toFixed(1)} s, ${Math.round(written / ((performance.now() - alone) / 1_000))} records/s of 16 kB to ` +
        `${HEALTHY} others: server +${grownMib.toFixed(0)} MiB; delay p99 ${quantile(delaysAlone)} ms alone, ${quantile(delays)} ms beside them`,
    );
    // What they did not take is more than ten times that.
    expect(grownMib).toBeLessThan(GROWN_MIB_MAX);
    const told = stuck.slice(0, 3);
    for (const { socket } of told) socket.resume();
    await until('they are told', () => told.every(({ code }) => code !== undefined), 20_000);
    expect(told.map(({ code }) => code)).toEqual(told.map(() => CLOSED_TOO_SLOW));
  },
);

const REGISTER = `mutation { register(input: { tenantName: "Slow", subdomain: "slow", email: "admin@slow.example",
  password: "${PASSWORD}", fullName: "Ada Admin" }) { accessToken user { tenantId } } }`;

function quantile(values: readonly number[], at = 0.99): number {
  return Math.round(values.toSorted((a, b) => a - b)[Math.floor(values.length * at)] ?? 0);
}

/** A number of /metrics. */
async function metric(url: string, name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)![1]);
}
