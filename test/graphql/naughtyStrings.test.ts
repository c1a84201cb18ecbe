import naughty from 'big-list-of-naughty-strings' with { type: 'json' };
import { sample, string } from 'fast-check';
import { expect, test } from 'vitest';

import { type Answer, type Person, UNTHROTTLED, type World, world } from '../world/server.ts';

const AT_ONCE = 16;
const STRINGS: readonly string[] = [
  ...naughty,
  '\0',
  'a\0b',
  '\uD800',
  'x\uDC00y',
  '\u202Eevil',
  '\uFEFF',
  'x'.repeat(10_000),
  ...sample(string({ unit: 'binary', maxLength: 200 }), { numRuns: 60, seed: 20_261_123 }),
];
/** What must not happen, whatever somebody types. */
const OURS = ['INTERNAL_SERVER_ERROR', 'AUDIT_UNAVAILABLE'];

test('the list is as long as it is said to be', () => {
  expect(STRINGS.length).toBeGreaterThan(500);
});

test(
  'as a name, an address, a reason or a note: kept as it is, or refused; never lost, never our fault',
  { timeout: 60_000 },
  async () => {
    const here = await world();
    const { admin, id } = await here.tenant();
    const branch = (await admin.do('createBranch', { name: 'A', code: 'A' }, 'branch { id }')).data.branch
      .id as string;
    const told: [string, string][] = [];
    const lost: unknown[] = [];

    for (const text of STRINGS) {
      const answers = [
        await admin.do(
          'updateUser',
          { id: admin.id, fullName: text, phone: text.slice(0, 40) || null },
          'user { fullName }',
        ),
        await admin.do('updateTenant', { id, name: text }, 'tenant { name }'),
        await admin.do('updateBranch', { id: branch, name: text, address: text }, 'branch { name }'),
      ];
      for (const answer of answers) {
        told.push([text, codeOf(answer)]);
        const kept = answer.data?.user?.fullName ?? answer.data?.tenant?.name ?? answer.data?.branch?.name;
        if (kept !== undefined && kept !== text.toWellFormed().trim()) lost.push([text, kept]);
      }
    }

    expect(told.filter(([, code]) => OURS.includes(code))).toEqual([]);
    expect(lost).toEqual([]);
    expect(told.filter(([, code]) => code === 'OK').length).toBeGreaterThan(STRINGS.length);
    await everyAnswerIsOnRecord(here, admin, told.length);
  },
);

test(
  'as credentials, tokens, ids and subdomains: refused like any other, and the attempt is on record',
  { timeout: 120_000 },
  async () => {
    const here = await world({}, UNTHROTTLED);
    const { admin } = await here.tenant();
    const told: [string, string][] = [];
    const ask = async (text: string, answer: Promise<Answer>) => {
      const { errors, data } = await answer;
      told.push([text, errors[0] ? String(errors[0].extensions['code']) : data === null ? 'NONE' : 'OK']);
    };
    await inTurns(STRINGS, async (text) => {
      await ask(text, here.anybody.do('login', { email: text, password: 'wrong' }, 'expiresAt'));
      await ask(
        text,
        here.anybody.do('login', { email: admin.email, password: text, tenant: text }, 'expiresAt'),
      );
      await ask(text, here.anybody.do('refreshToken', { refreshToken: text }, 'expiresAt'));
      await ask(text, here.anybody.do('verifyEmail', { token: text }, 'success'));
      await ask(text, admin.do('deactivateUser', { id: text, reason: text }, 'user { id }'));
      await ask(text, admin.do('inviteUser', { email: text, fullName: text }, 'user { id }'));
      await ask(
        text,
        here.anybody.do(
          'register',
          { tenantName: text, subdomain: text, email: text, password: 'correct horse', fullName: text },
          'expiresAt',
        ),
      );
    });
    expect(told.filter(([, code]) => OURS.includes(code) || code === 'NONE')).toEqual([]);
    // NUL reaches the record too, made visible.
    const { data } = await (
      await here.root()
    ).ask('{ auditLogs(filter: { actions: [LOGIN_FAILED] }) { totalCount } }');
    expect(data.auditLogs.totalCount).toBeGreaterThan(0);
  },
);

test(
  'as filters, cursors, searches and headers: an answer, or an error that says what is wrong',
  { timeout: 120_000 },
  async () => {
    const here = await world();
    const { admin } = await here.tenant();
    const told: [string, string, string][] = [];
    const query = `query Q($text: String, $id: ID!) {
    byRequest: auditLogs(filter: { requestId: $text }, first: 1) { nodes { id } }
    byCursor: auditLogs(after: $text, first: 1) { nodes { id } }
    attempts: failedLoginAttempts(email: $text, first: 1) { nodes { id } }
    branches(search: $text, first: 1) { nodes { id } }
    user(id: $id) { id } tenant(id: $id) { id } auditLog(id: $id) { id } node(id: $id) { id }
  }`;
    const scalars = `query S($text: String!) { auditLogs(filter: { ipAddress: "127.0.0.1", requestId: $text }) { totalCount } }`;
    await inTurns(STRINGS, async (text) => {
      const header = text
        .replaceAll(/[^\t\x20-\x7e\x80-\xff]/g, '')
        .trim()
        .slice(0, 4_000);
      const headers = { 'user-agent': header || 'none', 'x-request-id': header, 'x-forwarded-for': header };
      for (const [name, answer] of [
        ['reads', await admin.ask(query, { text, id: text })],
        ['headers', await admin.ask(scalars, { text }, headers)],
        [
          'moments',
          await admin.ask(
            'query M($at: DateTime) { auditLogs(filter: { createdAt: { from: $at } }) { totalCount } }',
            { at: text },
          ),
        ],
        [
          'addresses',
          await admin.ask('query A($ip: IP) { auditLogs(filter: { ipAddress: $ip }) { totalCount } }', {
            ip: text,
          }),
        ],
      ] as const) {
        for (const { extensions } of answer.errors) told.push([name, text, String(extensions['code'])]);
      }
    });
    expect(told.filter(([, , code]) => !['BAD_CURSOR', 'BAD_USER_INPUT'].includes(code))).toEqual([]);
    expect((await admin.ask('{ me { id } }')).data.me.id).toBe(admin.id);
  },
);

function codeOf({ errors }: Answer): string {
  return errors[0] ? String(errors[0].extensions['code']) : 'OK';
}

async function everyAnswerIsOnRecord(here: World, admin: Person, answers: number): Promise<void> {
  const [row] = await here.database.admin`
    select count(*)::int as records from audit_logs
    where user_id = ${admin.id} and action in ('user.updated', 'tenant.updated', 'branch.updated')`;
  expect(row!['records']).toBe(answers);
}

async function inTurns<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const left = [...items];
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (let item = left.pop(); item !== undefined; item = left.pop()) await work(item);
    }),
  );
}
