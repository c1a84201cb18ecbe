import { post } from './client.ts';
import { compared, inTurns, rates, type Table, throughput } from './figures.ts';
import { start } from './processes.ts';
import { furnish, SEEDED, type Stage, type Target } from './stage.ts';

const CLIENTS = [1, 16, 64];
const UNAUDITED = 'unaudited';
/** A small change of a user. */
export const CHANGE =
  'mutation Change($input: UpdateUserInput!) { updateUser(input: $input) { user { id phone } receipts { id } } }';
const WARM_UP_MS = 1_500;
const TARGET = { atLeast: 0.85 };

/** `updateUser`, in rounds that alternate between the server that records and the one that does not. */
export async function writingCost(stage: Stage): Promise<Table[]> {
  const { rounds, roundMs } = stage.quick ? { rounds: 4, roundMs: 1_000 } : { rounds: 12, roundMs: 3_000 };
  await stage.seeded();
  await stage.emptyDatabase(UNAUDITED);
  const recording = await start('serve', stage.env(SEEDED));
  const silent = await start('serveUnaudited', stage.env(UNAUDITED));
  try {
    const users = Math.max(...CLIENTS);
    const audited = await furnish(recording.url, users);
    const unaudited = { ...(await furnish(silent.url, users)), url: silent.unauditedUrl };
    // From here on a change of this database needs no record.
    await stage.asOwner(UNAUDITED, (sql) => sql`alter table users disable trigger audited`);
    for (const target of [audited, unaudited]) await throughput(clientsOf(target, 16), WARM_UP_MS);
    const figures = [];
    for (const count of CLIENTS) {
      const changed = (target: Target) => () => throughput(clientsOf(target, count), roundMs);
      const pairs = await inTurns(rounds, changed(audited), changed(unaudited));
      const label = `${count} ${count === 1 ? 'client' : 'clients'}`;
      figures.push(
        compared(label, pairs, (each, at) => rates(at === 0 ? 'audited' : 'unaudited', each), TARGET),
      );
    }
    return [{ title: 'Mutations a second', figures }];
  } finally {
    await recording.stop();
    await silent.stop();
  }
}

function clientsOf({ url, token, userIds }: Target, count: number) {
  return userIds.slice(0, count).map((id) => () => {
    const phone = `+49 30 ${Math.floor(Math.random() * 1e9)}`;
    return post(url, token, { query: CHANGE, variables: { input: { id, phone } } });
  });
}
