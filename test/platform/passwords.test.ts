import { performance } from 'node:perf_hooks';
import * as bcrypt from 'bcryptjs';
import { afterAll, expect, test } from 'vitest';

import {
  checkPassword,
  openPasswords,
  PasswordPolicyError,
  PasswordQueueFull,
  type Passwords,
} from '../../src/platform/passwords.ts';

const pepper = Buffer.alloc(32, 1);
const fast = openPasswords({ pepper, cost: 4, workers: 1 });
const opened: Passwords[] = [fast];
afterAll(() => Promise.all(opened.map((passwords) => passwords.stop())));

function open(options: Partial<Parameters<typeof openPasswords>[0]> = {}): Passwords {
  const passwords = openPasswords({ pepper, cost: 4, workers: 1, ...options });
  opened.push(passwords);
  return passwords;
}

test('a password is recognised and any other is not', async () => {
  const hash = await fast.hash('correct horse');
  expect(hash).toMatch(/^\$2b\$04\$[./A-Za-z0-9]{53}$/);
  expect(await fast.verify('correct horse', hash)).toBe(true);
  expect(await fast.verify('correct horsE', hash)).toBe(false);
  expect(await fast.verify('correct horse ', hash)).toBe(false);
  expect(await fast.verify('correct horse', null)).toBe(false);
  expect(await fast.hash('correct horse')).not.toBe(hash);
});

test('every character counts: nothing is cut at 72 bytes or at NUL', async () => {
  const long = 'x'.repeat(120);
  expect(bcrypt.compareSync(`${long}b`, bcrypt.hashSync(`${long}a`, 4))).toBe(true); // what bcrypt alone does
  expect(await fast.verify(`${long}b`, await fast.hash(`${long}a`))).toBe(false);

  const withNul = `${'\0'.repeat(8)}a`;
  expect(await fast.verify(`${'\0'.repeat(8)}b`, await fast.hash(withNul))).toBe(false);
  expect(await fast.verify('passphrase\0', await fast.hash('passphrase'))).toBe(false);
  expect(await fast.verify('', await fast.hash('\0'.repeat(8)))).toBe(false);
});

test('a password is the same however its accents are composed and its letters are wide', async () => {
  const composed = await fast.hash('Zürich-Café'.normalize('NFC'));
  expect(await fast.verify('Zürich-Café'.normalize('NFD'), composed)).toBe(true);
  expect(await fast.verify('passphrase1', await fast.hash('ｐａｓｓｐｈｒａｓｅ１'))).toBe(true);
});

test('a stolen hash is worth nothing without the pepper', async () => {
  const hash = await fast.hash('correct horse');
  expect(await open({ pepper: Buffer.alloc(32, 2) }).verify('correct horse', hash)).toBe(false);
  expect(bcrypt.compareSync('correct horse', hash)).toBe(false);
  expect(() => openPasswords({ pepper: Buffer.alloc(31) })).toThrow('at least 32 bytes, but this one has 31');
});

test.each([
  ['8 characters', 'abcdefgh'],
  ['128 characters', 'a'.repeat(128)],
  ['8 emoji', '🔑'.repeat(8)],
  ['128 emoji, 512 bytes', '🔑'.repeat(128)],
  ['128 characters, decomposed into three code units each', 'ệ'.repeat(128).normalize('NFD')],
  ['spaces', '        '],
])('%s are enough and not too many', (_, password) => {
  expect(checkPassword(password)).toBe(password.normalize('NFKC'));
});

test.each([
  ['TOO_SHORT', ''],
  ['TOO_SHORT', 'abcdefg'],
  ['TOO_SHORT', '🔑'.repeat(7)],
  ['TOO_SHORT', 'e\u0301'.repeat(7)],
  ['TOO_LONG', 'a'.repeat(129)],
  ['TOO_LONG', '\ufdfa'.repeat(8)], // one ligature, eighteen letters
  ['TOO_LONG', 'a'.repeat(20_000_000)],
  ['NOT_TEXT', 'password\ud800'],
])('%s is said of a password out of bounds', async (fault, password) => {
  const error = await fast.hash(password).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(PasswordPolicyError);
  expect(error).toHaveProperty('fault', fault);
  expect(String(error).length).toBeLessThan(200);
});

test('20 MB are refused before they are read', () => {
  const password = 'ä'.repeat(20_000_000);
  const reading = cpuMicrosOf(() => password.normalize('NFKC'));
  const refusing = cpuMicrosOf(() => {
    expect(() => checkPassword(password)).toThrow(expect.objectContaining({ fault: 'TOO_LONG' }));
  });
  expect(refusing).toBeLessThan(reading / 10);
});

function cpuMicrosOf(call: () => unknown): number {
  const start = process.cpuUsage();
  call();
  return process.cpuUsage(start).user;
}

test('a common password is refused whatever its case, if there is a list', () => {
  const common = new Set(['password1', 'iloveyou']);
  expect(() => checkPassword('PassWord1', common)).toThrow(expect.objectContaining({ fault: 'TOO_COMMON' }));
  expect(() => checkPassword('ｉｌｏｖｅｙｏｕ', common)).toThrow(
    expect.objectContaining({ fault: 'TOO_COMMON' }),
  );
  expect(checkPassword('password12', common)).toBe('password12');
});

test.each(['password', 'PassWord1', 'ｉｌｏｖｅｙｏｕ', '12345678', '1qaz2wsx', 'qwertyuiop', 'TRUSTNO1'])(
  '%s is not taken as a new password, and still lets in whoever has it',
  async (password) => {
    await expect(fast.hash(password)).rejects.toMatchObject({ fault: 'TOO_COMMON' });
    expect(await fast.verify(password, await fast.rehash(password))).toBe(true);
  },
);

test('more than 3,000 passwords are refused as common that would otherwise do', async () => {
  const { dictionary } = await import('@zxcvbn-ts/language-common');
  const enough = dictionary['passwords-common'].filter((password) => password.length >= 8);
  expect(enough.length).toBeGreaterThan(3_000);
  const sample = enough.filter((_, rank) => rank % 500 === 0);
  for (const password of sample)
    await expect(fast.hash(password)).rejects.toMatchObject({ fault: 'TOO_COMMON' });
});

test.each([
  '',
  'x',
  '$2b$04$',
  `$2b$04$${'.'.repeat(52)}`,
  `$2b$04$${'.'.repeat(54)}`,
  `$2x$04$${'.'.repeat(53)}`,
  `$2b$03$${'.'.repeat(53)}`,
  `$2b$31$${'.'.repeat(53)}`,
  `$2b$04$${'!'.repeat(53)}`,
  `$2b$04$${'.'.repeat(53)}\n`,
])('a malformed hash %j lets nobody in and breaks nothing', async (hash) => {
  expect(await fast.verify('correct horse', hash)).toBe(false);
  expect(fast.needsRehash(hash)).toBe(true);
});

test('a hash of another cost is still recognised, and is to be made anew', async () => {
  const old = await fast.hash('correct horse');
  const today = open({ cost: 5 });
  expect(await today.verify('correct horse', old)).toBe(true);
  expect(await today.verify('wrong horse', old)).toBe(false);
  expect(today.needsRehash(old)).toBe(true);
  expect(today.needsRehash(await today.hash('correct horse'))).toBe(false);
  expect(today.needsRehash((await today.hash('correct horse')).replace('$2b$', '$2a$'))).toBe(true);
});

test('the time of an answer does not tell an account that does not exist', async () => {
  const passwords = open({ cost: 9 });
  const known = await passwords.hash('correct horse');
  const cases: Record<string, () => Promise<boolean>> = {
    wrong: () => passwords.verify('wrong horse', known),
    right: () => passwords.verify('correct horse', known),
    unknown: () => passwords.verify('wrong horse', null),
    malformed: () => passwords.verify('wrong horse', '$2b$09$short'),
    ofLowerCost: () => passwords.verify('wrong horse', `$2b$06$${'.'.repeat(53)}`),
    tooShort: () => passwords.verify('x', known),
    tooLong: () => passwords.verify('x'.repeat(20_000_000), known),
    notText: () => passwords.verify('password\ud800', known),
  };
  const micros = Object.fromEntries(Object.keys(cases).map((name) => [name, [] as number[]]));
  for (let round = 0; round < 15; round++) {
    for (const [name, verify] of Object.entries(cases)) {
      // Time on the processor, all threads together: a busy machine stretches any other clock more than a leak would.
      const start = process.cpuUsage();
      await verify();
      const { user, system } = process.cpuUsage(start);
      micros[name]!.push(user + system);
    }
  }
  const medians = Object.entries(micros).map(
    ([name, all]) => [name, all.toSorted((a, b) => a - b)[7]!] as const,
  );
  const wrong = medians[0]![1];
  const ratios = medians.map(([name, median]) => ({ name, ratio: median / wrong }));
  expect(ratios.filter(({ ratio }) => ratio < 0.8 || ratio > 1.25)).toEqual([]);
});

test('the event loop stays free while eight passwords are hashed', async () => {
  const cost = 10;
  const passwords = open({ cost });
  await passwords.hash('warm the thread');
  const eight = Array.from({ length: 8 }, (_, i) => `correct horse ${i}`);

  const inThreads = await loopTimeOf(() => Promise.all(eight.map((password) => passwords.hash(password))));
  const onTheLoop = await loopTimeOf(() => Promise.all(eight.map((password) => bcrypt.hash(password, cost))));

  expect(inThreads / onTheLoop).toBeLessThan(0.25);
});

/** How long the event loop was at work meanwhile, in milliseconds. */
async function loopTimeOf(work: () => Promise<unknown>): Promise<number> {
  const start = performance.eventLoopUtilization();
  await work();
  return performance.eventLoopUtilization(start).active;
}

test('beyond the queue a password is turned away at once, and the queue then empties', async () => {
  const passwords = open({ cost: 8, queueMax: 3 });
  const underway = Array.from({ length: 4 }, () => passwords.verify('correct horse', null));
  await expect(passwords.hash('correct horse')).rejects.toBeInstanceOf(PasswordQueueFull);
  await expect(passwords.verify('correct horse', null)).rejects.toBeInstanceOf(PasswordQueueFull);
  expect(await Promise.all(underway)).toEqual([false, false, false, false]);
  expect(await passwords.verify('correct horse', null)).toBe(false);
});

test('a refused password takes no place in the queue', async () => {
  const passwords = open({ queueMax: 0 });
  await expect(passwords.hash('short')).rejects.toBeInstanceOf(PasswordPolicyError);
  expect(await passwords.verify('correct horse', await passwords.hash('correct horse'))).toBe(true);
});

test('stopping rejects what waits, and stopping twice is stopping once', async () => {
  const passwords = open({ cost: 12 });
  const waiting = Promise.allSettled([passwords.hash('correct horse'), passwords.hash('correct horse')]);
  await Promise.all([passwords.stop(), passwords.stop()]);
  expect((await waiting).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  await expect(passwords.hash('correct horse')).rejects.toThrow('is stopped');
});

test.each([3, 17, 10.5, Number.NaN])('a cost of %d is refused', (cost) => {
  expect(() => openPasswords({ pepper, cost })).toThrow('an integer from 4 to 16');
});
