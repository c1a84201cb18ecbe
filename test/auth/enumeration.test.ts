import { expect, test } from 'vitest';

import { type Answer, PASSWORD, post, type World, world } from '../world/server.ts';

const ACCOUNTS = 25;
const ROUNDS = 4;
const WARM_UP = 20;
const MEASUREMENTS_MAX = 3;
const WRONG = 'not my password';
const LOGIN = 'mutation ($input: LoginInput!) { done: login(input: $input) { expiresAt } }';
const FORGOT =
  'mutation ($input: ForgotPasswordInput!) { done: forgotPassword(input: $input) { accepted receipts { action } } }';

type Kind = 'known' | 'unknown' | 'inactive' | 'unset';

/** E-mails of accounts that are there, are not, are shut out, and never had a password. */
async function scene() {
  const here = await world({ TRUSTED_PROXIES: '127.0.0.1' });
  const { admin } = await here.tenant();
  const root = await here.root();
  await root.do('updateTenantSubscription', { id: admin.tenantId, tier: 'ENTERPRISE' });
  const kinds: Record<Kind, string[]> = { known: [], unknown: [], inactive: [], unset: [] };
  for (const [kind, emails] of Object.entries(kinds)) {
    for (let n = 0; n < ACCOUNTS; n++) {
      const email = `${kind}-${n}@people.example`;
      emails.push(email);
      if (kind === 'unknown') continue;
      const { errors } = await admin.do(
        'createUser',
        { email, fullName: 'Ann', role: 'MEMBER' },
        'user { id }',
      );
      expect(errors).toEqual([]);
    }
  }
  const hash = await here.server.house.services.passwords.hash(PASSWORD);
  await here.database.admin.begin(async (sql) => {
    await sql`set local session_replication_role = replica`;
    await sql`update users set password_hash = ${hash} where email like 'known-%' or email like 'inactive-%'`;
    await sql`update users set status = 'INACTIVE' where email like 'inactive-%'`;
  });
  return { here, kinds };
}

let calls = 0;

/** A call from an address that nobody has called from, and how long it took, in milliseconds. */
async function timed({ url }: World, query: string, input: object) {
  calls++;
  const from = `198.18.${(calls >> 8) & 255}.${calls & 255}`;
  const start = performance.now();
  const answer = await post(url, { query, variables: { input } }, { 'x-forwarded-for': from });
  return { ms: performance.now() - start, said: faceless(answer) };
}

/** All of an answer but its id and its time. */
function faceless({ status, headers, data, errors, requestId }: Answer): string {
  const sent = [...headers].filter(([name]) => name !== 'date');
  return JSON.stringify([status, sent, data, errors]).replaceAll(requestId, '');
}

/** The calls of all kinds in turns: what they say, and how long each kind takes. */
async function measured(here: World, query: string, kinds: Record<Kind, string[]>, input: object) {
  const said = new Set<string>();
  const times: Record<Kind, number[]> = { known: [], unknown: [], inactive: [], unset: [] };
  for (let n = 0; n < WARM_UP; n++) await timed(here, query, { ...input, email: `warm-${n}@people.example` });
  for (let round = 0; round < ROUNDS; round++) {
    for (let n = 0; n < ACCOUNTS; n++) {
      for (const kind of Object.keys(kinds) as Kind[]) {
        const answer = await timed(here, query, { ...input, email: kinds[kind][n] });
        times[kind].push(answer.ms);
        said.add(answer.said);
      }
    }
  }
  return { said, times };
}

/** What time tells of an account: kinds whose median or distribution differs from that of an unknown one. */
function tells(times: Record<Kind, number[]>) {
  return Object.entries(times)
    .map(([kind, ms]) => {
      const [one, other] = [medianOf(ms), medianOf(times.unknown)];
      const apart = Math.abs(one - other);
      return {
        kind,
        one,
        other,
        far: apart > 2 && apart > other * 0.05,
        p: sameDistribution(ms, times.unknown),
      };
    })
    .filter(({ far, p }) => far || p <= 0.01);
}

function medianOf(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

/** How likely two samples of one distribution lie so far apart (Kolmogorov and Smirnov, two-sided, asymptotic). */
function sameDistribution(one: readonly number[], other: readonly number[]): number {
  const below = (sample: readonly number[], x: number) => sample.filter((y) => y <= x).length / sample.length;
  const distance = Math.max(...[...one, ...other].map((x) => Math.abs(below(one, x) - below(other, x))));
  const size = Math.sqrt((one.length * other.length) / (one.length + other.length));
  const lambda = (size + 0.12 + 0.11 / size) * distance;
  if (lambda < 0.2) return 1;
  const terms = Array.from({ length: 100 }, (_, k) => (-1) ** k * Math.exp(-2 * ((k + 1) * lambda) ** 2));
  return 2 * terms.reduce((sum, term) => sum + term, 0);
}

test('the statistic tells samples of two distributions apart, and not those of one', () => {
  const sample = (shift: number) => Array.from({ length: 100 }, (_, i) => ((i * 37) % 100) + shift);
  expect(sameDistribution(sample(0), sample(3))).toBeGreaterThan(0.5);
  expect(sameDistribution(sample(0), sample(30))).toBeLessThan(0.001);
});

/** What the answers of all kinds are, and whom their times tell in every measurement: a leak is there each time, noise is not. */
async function learnt(query: string, input: object) {
  const { here, kinds } = await scene();
  const said = new Set<string>();
  let found: ReturnType<typeof tells> = [];
  for (let measurement = 1; measurement <= MEASUREMENTS_MAX; measurement++) {
    const one = await measured(here, query, kinds, input);
    for (const answer of one.said) said.add(answer);
    const now = tells(one.times);
    const before = measurement === 1 ? now : found;
    found = now.filter(({ kind }) => before.some((each) => each.kind === kind));
    if (found.length === 0) break;
  }
  return { said, found };
}

test('neither the answer of login nor its time tells whether there is an account', async () => {
  const { said, found } = await learnt(LOGIN, { password: WRONG });
  expect([...said]).toHaveLength(1);
  expect(found).toEqual([]);
}, 120_000);

test('the answer of forgotPassword does not tell whether there is an account', async () => {
  const { said } = await learnt(FORGOT, {});
  expect([...said]).toHaveLength(1);
}, 120_000);

test('the time of forgotPassword does not tell whether there is an account', async () => {
  const { found } = await learnt(FORGOT, {});
  expect(found).toEqual([]);
}, 120_000);
