import { Command } from 'commander';
import { expect, test } from 'vitest';

import { filterOf, type TailOptions, withTailOptions } from '../src/clientOptions.ts';

test.each([
  [[], {}],
  [
    ['--action', 'LOGIN', 'LOGOUT', '--action', 'LOGIN_FAILED'],
    { actions: ['LOGIN', 'LOGOUT', 'LOGIN_FAILED'] },
  ],
  [['--category', 'USER', '--category', 'AUTH'], { categories: ['USER', 'AUTH'] }],
  [['--status', 'FAILURE', 'ERROR'], { statuses: ['FAILURE', 'ERROR'] }],
  [['--min-severity', 'WARNING'], { minSeverity: 'WARNING' }],
  [['--user', 'u1'], { userId: 'u1' }],
  [['--resource', 'TENANT', 'USER'], { resources: ['TENANT', 'USER'] }],
  [['--resource-id', 'r1'], { resourceId: 'r1' }],
  [['--address', '192.0.2.1'], { ipAddress: '192.0.2.1' }],
  [['--request', 'q1'], { requestId: 'q1' }],
  [['--tenant-id', 't1'], { tenantId: 't1' }],
  [
    ['--filter', '{"not":{"userId":"u1"}}', '--user', 'u2'],
    { and: [{ not: { userId: 'u1' } }], userId: 'u2' },
  ],
])('%j is the filter %j', (args, filter) => {
  expect(filterOf(optionsIn(args))).toEqual(filter);
});

test.each([
  [['--action', 'SIGN_IN'], /'SIGN_IN' is invalid. Allowed choices are LOGIN, LOGOUT, /],
  [['--category', 'X'], /Allowed choices are AUTH, TENANT, USER, /],
  [['--status', 'X'], /Allowed choices are SUCCESS, FAILURE, ERROR\./],
  [['--min-severity', 'X'], /Allowed choices are INFO, NOTICE, WARNING, ERROR, CRITICAL\./],
  [['--resource', 'X'], /Allowed choices are TENANT, USER, SESSION, /],
  [['--format', 'X'], /Allowed choices are table, ndjson\./],
  [['--url', 'localhost:4000'], /must be an http or https address/],
  [['--url', 'nowhere'], /must be an http or https address/],
  [['--filter', '{'], /It must be JSON\./],
  [['--filter', '[]'], /Expected type "AuditLogFilter" to be an object\./],
  [
    ['--filter', '{"not":{"statuses":["X"]}}'],
    /not\.statuses\.0: .*Allowed choices are SUCCESS, FAILURE, ERROR\./,
  ],
  [['--filter', '{"actons":[]}'], /Field "actons" is not defined .*"actions"/],
  [['--after', 'c1', '--from-beginning'], /cannot be used with option '--after/],
  [['--password', 'secret'], /unknown option '--password'/],
])('%j is refused, saying what is allowed', (args, message) => {
  expect(() => optionsIn(args)).toThrow(message);
});

function optionsIn(args: readonly string[]): TailOptions {
  const command = withTailOptions(new Command())
    .exitOverride()
    .configureOutput({ writeErr: () => {} });
  return command.parse(args, { from: 'user' }).opts();
}
