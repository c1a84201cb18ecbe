import { expect, test } from 'vitest';
import { openLog, type LogOptions } from '../../src/platform/log.ts';

test('a secret is not logged, wherever it stands by name', () => {
  const { lines, log } = opened();
  const secrets = {
    authorization: 'canary',
    cookie: 'canary',
    password: 'canary',
    newPassword: 'canary',
    currentPassword: 'canary',
    token: 'canary',
    accessToken: 'canary',
    refreshToken: 'canary',
    'set-cookie': ['canary'],
  };

  log.info(secrets, 'on top');
  log.info({ input: secrets }, 'below');
  log.info({ variables: { input: secrets } }, 'below that');
  log.info({ req: { body: { variables: secrets } } }, 'far below');
  log.child(secrets).warn('of a child');
  log.info({ req: Object.assign(new Map(), { headers: secrets }) }, 'of an instance');
  log.error(Object.assign(new Error('refused'), { input: secrets }));

  expect(lines).toHaveLength(7);
  expect(lines.join('')).not.toContain('canary');
  expect(lines.join('')).toContain('[redacted]');
});

test('the values in an error of the database are not logged, its sentence is', () => {
  const { lines, log } = opened();
  const error = Object.assign(new Error('duplicate key'), {
    detail: 'Key (email)=(canary)',
    parameters: ['canary'],
  });

  log.error({ err: error }, 'refused');

  expect(lines[0]).toContain('duplicate key');
  expect(lines[0]).not.toContain('canary');
});

test('a line is one JSON object with a readable time and level', () => {
  const { lines, log } = opened();

  log.info({ port: 4000 }, 'listening');
  log.debug('not at this level');

  expect(lines).toHaveLength(1);
  expect(JSON.parse(lines[0] ?? '')).toEqual({
    level: 'info',
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    port: 4000,
    msg: 'listening',
  });
});

test('for a terminal a line is a sentence, with the stack of an error below it', () => {
  const { lines, log } = opened({ pretty: true });

  log.info({ port: 4000, password: 'canary' }, 'listening');
  log.error(new Error('it broke'));
  log.warn({ err: 'not an error' }, 'odd');

  expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d\.\d{3} INFO {2}listening port=4000 password="\[redacted\]"\n$/);
  expect(lines[1]).toMatch(/ERROR it broke\nError: it broke\n +at /);
  expect(lines[2]).toContain('odd');
});

function opened(options: Partial<LogOptions> = {}) {
  const lines: string[] = [];
  const log = openLog({ level: 'info', to: { write: (line) => void lines.push(line) }, ...options });
  return { lines, log };
}
