import { execFile, fork } from 'node:child_process';
import { once } from 'node:events';
import { cp } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

import { post } from './client.ts';
import { FIELDS, type Neighbour, type Subject } from './questions.ts';

const SOURCE = path.join(import.meta.dirname, 'postgraphile');
// Its packages bring type definitions that would be taken for those of the code around them.
const FOLDER = path.join(import.meta.dirname, '../node_modules/.cache/custos-bench-postgraphile');

/** In a process of its own, under the Node it needs. */
export async function startPostgraphile(
  databaseUrl: string,
): Promise<{ url: string; stop: () => Promise<void> }> {
  await cp(SOURCE, FOLDER, { recursive: true });
  await promisify(execFile)('npm', ['ci'], { cwd: FOLDER });
  const child = fork(path.join(FOLDER, 'server.mjs'), {
    execPath: path.join(FOLDER, 'node_modules/.bin/node'),
    execArgv: [],
    // It is not silent about types it does not know.
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    env: { ...process.env, DATABASE_URL: databaseUrl, NODE_ENV: 'production', GRAPHILE_ENV: 'production' },
  });
  const exit = once(child, 'exit');
  const message = await Promise.race([once(child, 'message'), exit.then(() => undefined)]);
  if (!message) throw new Error('PostGraphile did not start.');
  const { url } = message[0] as { url: string };
  return {
    url,
    async stop() {
      if (child.connected) child.send('stop');
      await exit;
    },
  };
}

/** Its cursors hold what the rows are ordered by: the deep page is reached by one, as in Custos. */
export async function askPostgraphile(
  url: string,
  { tenantId, userId, action, depth }: Subject,
): Promise<Neighbour> {
  const ask = <Data>(query: string, variables: object) =>
    post<Data>(url, undefined, { query, variables }, { headers: { 'x-tenant': tenantId } });
  const page =
    (condition: object, { selection = '', after }: { selection?: string; after?: string | undefined } = {}) =>
    () =>
      ask(
        `query Page($condition: AuditLogCondition, $after: Cursor) {
      allAuditLogs(condition: $condition, first: 50, after: $after, orderBy: [PRIMARY_KEY_DESC]) {
        nodes { ${FIELDS.replace(/^id/, 'rowId')} } pageInfo { hasNextPage endCursor } ${selection} } }`,
        { condition: { tenantId, ...condition }, after },
      );
  const start = await ask<{ allAuditLogs: { pageInfo: { endCursor: string } } }>(
    `query Start($condition: AuditLogCondition, $offset: Int) {
      allAuditLogs(condition: $condition, first: 1, offset: $offset, orderBy: [PRIMARY_KEY_DESC]) { pageInfo { endCursor } } }`,
    { condition: { tenantId }, offset: Math.max(depth - 1, 0) },
  );
  return {
    name: 'PostGraphile',
    ask: {
      'page of 50': page({}),
      'page of 50 and the total': page({}, { selection: 'totalCount' }),
      'page 1,000': page({}, { after: start.allAuditLogs.pageInfo.endCursor }),
      'of a user': page({ userId }),
      'a rare action': page({ action }),
      'total count': () =>
        ask(
          'query Total($condition: AuditLogCondition) { allAuditLogs(condition: $condition) { totalCount } }',
          {
            condition: { tenantId },
          },
        ),
    },
  };
}
