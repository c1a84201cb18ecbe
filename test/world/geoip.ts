/** A city database in the MaxMind DB format 2.0 (https://maxmind.github.io/MaxMind-DB/), with places of our own. */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

const METADATA = Buffer.from('\xab\xcd\xefMaxMind.com', 'latin1');
const SEPARATOR = Buffer.alloc(16);
const PREFIX_BITS = 24;

type Node = [Node | number | undefined, Node | number | undefined];

/** Writes a database that knows where some /24 networks are, each as `latitude, longitude`. Returns its path. */
export async function cityDatabase(
  places: Readonly<Record<string, readonly [number, number]>>,
): Promise<string> {
  const data: Buffer[] = [];
  const root: Node = [undefined, undefined];
  let length = 0;
  for (const [network, [latitude, longitude]] of Object.entries(places)) {
    const entry = map({ location: map({ latitude: double(latitude), longitude: double(longitude) }) });
    grow(root, network, length);
    data.push(entry);
    length += entry.length;
  }
  const nodes: Node[] = [];
  number(root, nodes);
  const tree = nodes.flatMap((node) => node.map((side) => record(side, nodes)));
  const metadata = map({
    node_count: unsigned(6, nodes.length),
    record_size: unsigned(5, 24),
    ip_version: unsigned(5, 4),
    database_type: string('Test-City'),
    languages: Buffer.from([0, 4]),
    binary_format_major_version: unsigned(5, 2),
    binary_format_minor_version: unsigned(5, 0),
    build_epoch: Buffer.concat([Buffer.from([8, 2]), bigEndian(1_700_000_000, 8)]),
    description: map({ en: string('Places of tests') }),
  });
  const file = path.join(await mkdtemp(path.join(tmpdir(), 'custos-geoip-')), 'city.mmdb');
  await writeFile(file, Buffer.concat([...tree, SEPARATOR, ...data, METADATA, metadata]));
  return file;
}

function grow(root: Node, network: string, offset: number): void {
  const bits = network
    .split('.')
    .map((part) => Number(part).toString(2).padStart(8, '0'))
    .join('')
    .slice(0, PREFIX_BITS);
  let node = root;
  for (const bit of bits.slice(0, -1)) {
    const side = Number(bit);
    node[side] ??= [undefined, undefined];
    node = node[side] as Node;
  }
  node[Number(bits.at(-1))] = offset;
}

function number(node: Node, nodes: Node[]): void {
  nodes.push(node);
  for (const side of node) if (Array.isArray(side)) number(side, nodes);
}

/** A node, nothing, or a place in the data after the tree. */
function record(side: Node[number], nodes: readonly Node[]): Buffer {
  if (side === undefined) return bigEndian(nodes.length, 3);
  return bigEndian(Array.isArray(side) ? nodes.indexOf(side) : nodes.length + SEPARATOR.length + side, 3);
}

function map(entries: Readonly<Record<string, Buffer>>): Buffer {
  const parts = Object.entries(entries).flatMap(([name, value]) => [string(name), value]);
  return Buffer.concat([control(7, Object.keys(entries).length), ...parts]);
}

function string(text: string): Buffer {
  return Buffer.concat([control(2, text.length), Buffer.from(text)]);
}

function double(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleBE(value);
  return Buffer.concat([control(3, 8), bytes]);
}

function unsigned(type: 5 | 6, value: number): Buffer {
  return Buffer.concat([control(type, 4 - (type === 5 ? 2 : 0)), bigEndian(value, type === 5 ? 2 : 4)]);
}

function control(type: number, size: number): Buffer {
  return Buffer.from([(type << 5) | size]);
}

function bigEndian(value: number, bytes: number): Buffer {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64BE(BigInt(value));
  return buffer.subarray(8 - bytes);
}
