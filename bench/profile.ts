import { mkdtemp, readFile, rm } from 'node:fs/promises';
import type { Profiler } from 'node:inspector';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { post } from './client.ts';
import type { Table } from './figures.ts';
import { start } from './processes.ts';
import { PAGE } from './reading.ts';
import { furnish, SEEDED, signInAtLargest, type Stage } from './stage.ts';
import { CHANGE } from './writing.ts';

const WARM_UP = 300;
const SHOWN = 12;
/** What runs in Node without a package or a room of ours having called for it. */
const NODE = 'Node: sockets, HTTP, promises';

/** Where the server's main thread spends its time: by who has called for it, in milliseconds an operation. */
export async function profileOfServer(stage: Stage): Promise<Table[]> {
  await stage.seeded();
  const folder = await mkdtemp(path.join(tmpdir(), 'custos-profile-'));
  const file = path.join(folder, 'server.cpuprofile');
  const count = stage.quick ? 500 : 3_000;
  try {
    const { url, stop } = await start('serveProfiled', stage.env(SEEDED), { file });
    const { token } = await signInAtLargest(stage, url);
    const own = await furnish(url, 1);
    const change = () => {
      const phone = `+49 30 ${Math.floor(Math.random() * 1e9)}`;
      return post(url, own.token, {
        query: CHANGE,
        variables: { input: { id: own.userIds[0], phone } },
      });
    };
    const works = {
      'A page of 50': () => post(url, token, { query: PAGE }),
      'An audited mutation, and sealing': change,
    };
    const spans: [string, number, number][] = [];
    for (const [title, work] of Object.entries(works)) {
      for (let done = 0; done < WARM_UP; done++) await work();
      const begin = microsNow();
      for (let done = 0; done < count; done++) await work();
      spans.push([title, begin, microsNow()]);
    }
    await stop();
    const profile = JSON.parse(await readFile(file, 'utf8')) as Profiler.Profile;
    return spans.map(([title, begin, end]) => tableOf(title, ownersIn(profile, begin, end), count));
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** By the clock of the profiler, which is that of all processes. */
function microsNow(): number {
  return Number(process.hrtime.bigint() / 1_000n);
}

function tableOf(title: string, owners: ReadonlyMap<string, number>, count: number): Table {
  const inOrder = [...owners].toSorted(([, one], [, other]) => other - one);
  const others = inOrder.slice(SHOWN).reduce((sum, [, micros]) => sum + micros, 0);
  const whole = inOrder.reduce((sum, [, micros]) => sum + micros, 0);
  const rows = [...inOrder.slice(0, SHOWN), ['all others', others], ['in all', whole]] as const;
  return {
    title,
    figures: rows.map(([label, micros]) => ({
      label,
      sides: [{ name: 'an operation', unit: 'ms', p50: micros / 1_000 / count }],
    })),
  };
}

/** Microseconds between two moments by owner; what native code and Node do is its caller's. */
function ownersIn(
  { nodes, samples = [], timeDeltas = [], startTime }: Profiler.Profile,
  begin: number,
  end: number,
): Map<string, number> {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const parents = new Map(nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id])));
  const ownerOf = (id: number | undefined): string => {
    if (id === undefined) return NODE;
    const { functionName, url } = byId.get(id)!.callFrame;
    if (functionName === '(garbage collector)') return 'garbage collection';
    return ownerIn(url) ?? ownerOf(parents.get(id));
  };
  const owners = new Map<string, number>();
  let at = startTime;
  for (const [index, id] of samples.entries()) {
    const micros = timeDeltas[index]!;
    at += micros;
    if (at < begin || at > end || byId.get(id)!.callFrame.functionName === '(idle)') continue;
    const owner = ownerOf(id);
    owners.set(owner, (owners.get(owner) ?? 0) + micros);
  }
  return owners;
}

/** The package or the room a file belongs to. */
function ownerIn(url: string): string | undefined {
  const [, name] = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url) ?? [];
  if (name !== undefined) return name;
  const [, room] = /\/src\/([^/]+)\//.exec(url) ?? [];
  return room === undefined ? undefined : `src/${room}`;
}
