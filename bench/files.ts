import { createHash, randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';

import { post, rssDuring } from './client.ts';
import { rates, type Side, type Table, timed } from './figures.ts';
import { start } from './processes.ts';
import { furnish, type Stage } from './stage.ts';

const DATABASE = 'files';
const BATCH = 1_000;
const CLIENTS = 4;
const LOOK_MS = 500;
/** After it was filled, a process gives memory back. */
const IDLE_MS = 20_000;
const FORMATS = ['CSV', 'NDJSON', 'PARQUET'];
const ABOVE_IDLE_MIB = 150;

/** Exports of one log by `createAuditExport`, from the order to the last byte of the file. */
export async function exportCost(stage: Stage): Promise<Table[]> {
  const records = stage.quick ? 50_000 : 1_000_000;
  await stage.emptyDatabase(DATABASE);
  const filling = await start('serve', stage.env(DATABASE));
  const { credentials } = await furnish(filling.url).then(async (target) => {
    await fill(target, records);
    return target;
  });
  await filling.stop();
  const server = await start('serve', stage.env(DATABASE));
  try {
    const { url } = server;
    const speeds = [];
    const memory = [];
    await pause(IDLE_MS);
    const idle = await rssDuring(url, () => Promise.resolve());
    for (const format of FORMATS) {
      const ask = await asking(url, credentials);
      let ms = 0;
      const most = await rssDuring(url, async () => {
        ms = await timed(() => exported(ask, url, format, records));
      });
      speeds.push({ label: format, sides: [rates('Custos', [(records * 1_000) / ms])] });
      memory.push({
        label: `${format}, above ${Math.round(idle)} MiB when idle`,
        sides: [{ name: 'Custos', unit: 'MiB', p50: most - idle } satisfies Side],
        target: { atMost: ABOVE_IDLE_MIB },
      });
    }
    return [
      { title: `Records a second, ${records} of them`, figures: speeds },
      { title: 'Most memory above idle', figures: memory },
    ];
  } finally {
    await server.stop();
  }
}

async function fill({ url, token }: { url: string; token: string }, records: number): Promise<void> {
  await post(url, token, {
    query: 'mutation { registerEventType(input: { name: "shop.sold", schema: {} }) { eventType { id } } }',
  });
  const query =
    'mutation ($input: RecordAuditEventsInput!) { recordAuditEvents(input: $input) { recorded } }';
  let left = records / BATCH;
  const client = async () => {
    while (left-- > 0) {
      const events = Array.from({ length: BATCH }, (_, at) => ({
        type: 'shop.sold',
        idempotencyKey: randomUUID(),
        actor: { id: `customer-${at}`, name: `Customer ${at}` },
        data: { amount: at, currency: 'CHF', note: 'Sold in the shop at the corner' },
      }));
      await post(url, token, { query, variables: { input: { events } } });
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
}

type Ask = <Data>(query: string) => Promise<Data>;

async function asking(url: string, input: { email: string; password: string }): Promise<Ask> {
  const { login } = await post<{ login: { accessToken: string } }>(url, undefined, {
    query: 'mutation ($input: LoginInput!) { login(input: $input) { accessToken } }',
    variables: { input },
  });
  return (query) => post(url, login.accessToken, { query });
}

async function exported(ask: Ask, url: string, format: string, records: number): Promise<void> {
  const { createAuditExport } = await ask<{ createAuditExport: { auditExport: { id: string } } }>(
    `mutation { createAuditExport(input: { format: ${format} }) { auditExport { id } } }`,
  );
  for (;;) {
    const { auditExport } = await ask<{
      auditExport: { state: string; rows: string; downloadUrl: string; manifest: string };
    }>(`{ auditExport(id: "${createAuditExport.auditExport.id}") { state rows downloadUrl manifest } }`);
    if (auditExport.state === 'FAILED') throw new Error('The export failed.');
    if (auditExport.state === 'DONE') {
      const { pathname, search } = new URL(auditExport.downloadUrl);
      const response = await fetch(new URL(pathname + search, url));
      const hash = createHash('sha256');
      for await (const chunk of response.body!) hash.update(chunk as Uint8Array);
      if (Number(auditExport.rows) < records || !auditExport.manifest.includes(hash.digest('hex')))
        throw new Error('The file is not what its manifest tells of.');
      return;
    }
    await pause(LOOK_MS);
  }
}
