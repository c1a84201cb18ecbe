import { post } from './client.ts';
import type { Served, Target } from './served.ts';
import { median, ratios, type Ratio } from './statistics.ts';

const OPERATION =
  'mutation Change($input: UpdateUserInput!) { updateUser(input: $input) { user { id phone } receipts { id } } }';
const WARM_UP_MS = 1_500;

export interface WritingCost {
  readonly auditedPerSecond: number;
  readonly unauditedPerSecond: number;
  /** Audited through unaudited throughput. */
  readonly ratio: Ratio;
}

/** `updateUser` at 16 clients, in rounds that alternate between the server that records and the one that does not. */
export async function writingCost(
  { audited, unaudited }: Served,
  { rounds, roundMs }: { rounds: number; roundMs: number },
): Promise<WritingCost> {
  for (const target of [audited, unaudited]) await throughput(target, WARM_UP_MS);
  const pairs: [audited: number, unaudited: number][] = [];
  for (let round = 0; round < rounds; round++) {
    // Whoever comes second meets a warmer machine: they take turns at it.
    const first = round % 2 === 0;
    const before = first ? await throughput(audited, roundMs) : undefined;
    const plain = await throughput(unaudited, roundMs);
    pairs.push([before ?? (await throughput(audited, roundMs)), plain]);
  }
  return {
    auditedPerSecond: median(pairs.map(([one]) => one)),
    unauditedPerSecond: median(pairs.map(([, other]) => other)),
    ratio: ratios(pairs),
  };
}

/** Mutations a second. */
async function throughput({ url, token, userIds }: Target, ms: number): Promise<number> {
  const begin = performance.now();
  let done = 0;
  const client = async (id: string) => {
    while (performance.now() - begin < ms) {
      const phone = `+49 30 ${Math.floor(Math.random() * 1e9)}`;
      await post(url, token, { query: OPERATION, variables: { input: { id, phone } } });
      done++;
    }
  };
  await Promise.all(userIds.map(client));
  return (done * 1000) / (performance.now() - begin);
}
