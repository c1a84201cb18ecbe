import { post } from './client.ts';
import { type Figure, type Side, type Table, timed, times } from './figures.ts';
import { askOriginal, copyIntoOriginal } from './original.ts';
import { FIELDS, type Neighbour, type Question, QUESTIONS, type Subject } from './questions.ts';
import { askPostgraphile, startPostgraphile } from './postgraphile.ts';
import { start } from './processes.ts';
import { SEEDED, signInAtLargest, type Stage } from './stage.ts';
import { ratios } from './statistics.ts';

const WARM_UP = 30;
/** A question is asked no longer than this, but often enough for a median: among ten million records a neighbour may take seconds. */
const QUESTION_MS_MAX = 40_000;
const TURNS_MIN = 5;
const DEEP_RECORDS = 50_000;
/** Custos, PostGraphile over its tables, and the design it replaces, on the same records: in turns, one client. */
export async function neighbourCost(stage: Stage): Promise<Table[]> {
  await stage.seeded();
  await stage.asOwner(SEEDED, copyIntoOriginal);
  const custos = await start('serve', stage.env(SEEDED));
  const original = await start('serveOriginal', stage.env(SEEDED));
  const postgraphile = await startPostgraphile(stage.appUrl(SEEDED));
  try {
    const signIn = () => signInAtLargest(stage, custos.url);
    const subject = await subjectOf(stage, (await signIn()).tenantId);
    const figures: Figure[] = [];
    for (const question of QUESTIONS) {
      const neighbours = [
        await askCustos(custos.url, (await signIn()).token, subject),
        await askPostgraphile(postgraphile.url, subject),
        askOriginal(original.url, subject),
      ];
      figures.push(...(await inTurn(question, neighbours, stage.quick ? 20 : 100)));
    }
    const among = (name: string) => figures.filter(({ sides }) => sides[1]!.name === name);
    return [
      { title: 'Custos and PostGraphile', figures: among('PostGraphile') },
      { title: 'Custos and the original’s design', figures: among('original') },
    ];
  } finally {
    await Promise.all([custos.stop(), original.stop(), postgraphile.stop()]);
  }
}

/** The first neighbour over each other one. */
async function inTurn(
  question: Question,
  neighbours: readonly Neighbour[],
  turns: number,
): Promise<Figure[]> {
  const samples: number[][] = [];
  const begin = performance.now();
  const isOver = (part: number) => performance.now() - begin > QUESTION_MS_MAX * part;
  for (let turn = 0; turn < WARM_UP && !isOver(1 / 4); turn++)
    for (const { ask } of neighbours) await ask[question]();
  while (samples.length < turns && !(samples.length >= TURNS_MIN && isOver(1))) {
    const sample = [];
    for (const { ask } of neighbours) sample.push(await timed(ask[question]));
    samples.push(sample);
  }
  const sides = neighbours.map(({ name }, at): Side =>
    times(
      name,
      samples.map((sample) => sample[at]!),
    ),
  );
  return sides.slice(1).map((other, at) => ({
    label: question,
    sides: [sides[0]!, other],
    ratio: ratios(samples.map((sample) => [sample[0]!, sample[at + 1]!])),
  }));
}

async function subjectOf(stage: Stage, tenantId: string): Promise<Subject> {
  return await stage.asOwner(SEEDED, async (sql) => {
    const [user] = await sql<{ userId: string }[]>`
      select user_id as "userId" from audit_logs where tenant_id = ${tenantId} and user_id is not null
      group by 1 order by count(*) desc limit 1`;
    const [rare] = await sql<{ action: string; total: number }[]>`
      select action, sum(count(*)) over ()::int as total from audit_logs where tenant_id = ${tenantId}
      group by 1 order by count(*) limit 1`;
    return {
      tenantId,
      userId: user!.userId,
      action: rare!.action,
      depth: Math.min(DEEP_RECORDS, Math.max(rare!.total - 100, 0)),
    };
  });
}

async function askCustos(url: string, token: string, { userId, action, depth }: Subject): Promise<Neighbour> {
  const page =
    (filter: object, { selection = '', after }: { selection?: string; after?: string | undefined } = {}) =>
    () =>
      post<Pages>(url, token, {
        query: `query Page($filter: AuditLogFilter, $after: String) { auditLogs(filter: $filter, first: 50, after: $after) {
        nodes { ${FIELDS.replace('changes', 'changes { path before after }')} } pageInfo { hasNextPage endCursor } ${selection} } }`,
        variables: { filter, after },
      });
  const { auditActionCatalog } = await post<{ auditActionCatalog: { action: string; key: string }[] }>(
    url,
    token,
    {
      query: '{ auditActionCatalog { action key } }',
    },
  );
  const { action: rare } = auditActionCatalog.find(({ key }) => key === action)!;
  let after: string | undefined;
  for (let at = 0; at < depth; at += 500) {
    const { auditLogs } = await post<Pages>(url, token, {
      query:
        'query Step($first: Int, $after: String) { auditLogs(first: $first, after: $after) { pageInfo { endCursor } } }',
      variables: { first: Math.min(500, depth - at), after },
    });
    after = auditLogs.pageInfo.endCursor;
  }
  return {
    name: 'Custos',
    ask: {
      'page of 50': page({}),
      'page of 50 and the total': page({}, { selection: 'totalCount' }),
      'page 1,000': page({}, { after }),
      'of a user': page({ userId }),
      'a rare action': page({ actions: [rare] }),
      'total count': () => post(url, token, { query: '{ auditLogs(first: 1) { totalCount } }' }),
    },
  };
}

interface Pages {
  readonly auditLogs: { readonly pageInfo: { readonly endCursor: string } };
}
