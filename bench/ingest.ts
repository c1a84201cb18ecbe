import { randomUUID } from 'node:crypto';

import { post } from './client.ts';
import { rates, type Table, throughput } from './figures.ts';
import { start } from './processes.ts';
import { furnish, type Stage } from './stage.ts';

const DATABASE = 'ingest';
const BATCHES = [1_000];
const CLIENTS = 4;
const WARM_UP_MS = 3_000;
const TARGET_PER_SECOND = 10_000;
const SOLD = {
  type: 'object',
  properties: { amount: { type: 'number' }, currency: { enum: ['CHF', 'EUR'] } },
  required: ['amount', 'currency'],
};
const RECORD = `mutation Record($input: RecordAuditEventsInput!) { recordAuditEvents(input: $input) { recorded } }`;

/** Events of another application, recorded by programs with a key: while they are sealed and judged as all records are. */
export async function ingestRate(stage: Stage): Promise<Table[]> {
  const { rounds, roundMs } = stage.quick ? { rounds: 3, roundMs: 2_000 } : { rounds: 8, roundMs: 5_000 };
  await stage.emptyDatabase(DATABASE);
  const server = await start('serve', stage.env(DATABASE));
  try {
    const { url, token } = await furnish(server.url);
    await post(url, token, {
      query:
        'mutation Type($input: RegisterEventTypeInput!) { registerEventType(input: $input) { eventType { id } } }',
      variables: { input: { name: 'shop.sold', schema: SOLD } },
    });
    const { createApiKey } = await post<{ createApiKey: { key: string } }>(url, token, {
      query: 'mutation { createApiKey(input: { name: "Shop", scopes: [EVENTS_WRITE] }) { key } }',
    });
    const send = (batch: number) => () => {
      const events = Array.from({ length: batch }, (_, at) => ({
        type: 'shop.sold',
        idempotencyKey: randomUUID(),
        resource: { type: 'order', id: String(at) },
        data: { amount: at, currency: 'CHF' },
      }));
      return post(url, createApiKey.key, { query: RECORD, variables: { input: { events } } });
    };
    const figures = [];
    for (const batch of BATCHES) {
      const clients = Array.from({ length: CLIENTS }, () => send(batch));
      await throughput(clients, WARM_UP_MS);
      const measured = [];
      for (let round = 0; round < rounds; round++)
        measured.push((await throughput(clients, roundMs)) * batch);
      figures.push({
        label: `batches of ${batch}, ${CLIENTS} clients`,
        sides: [rates('Custos', measured)],
        target: { atLeast: TARGET_PER_SECOND },
      });
    }
    return [{ title: 'Events a second', figures }];
  } finally {
    await server.stop();
  }
}
