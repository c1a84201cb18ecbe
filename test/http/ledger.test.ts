/** The log as static resources: what anybody with a client of https://c2sp.org/tlog-tiles reads. */
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from 'vitest';

import { openCheckpoint, parseVerifierKey } from '../../src/ledger/checkpoint.ts';
import { hashOfRecord } from '../../src/ledger/leaf.ts';
import { rootOf } from '../../src/ledger/merkle.ts';
import { hashesIn } from '../../src/ledger/tiles.ts';
import { parseProof, verifyProof } from '../../src/ledger/proof.ts';
import { idAt, signed, withRecords } from '../world/ledger.ts';
import { record } from '../world/records.ts';
import { allSigned } from '../world/seal.ts';
import type { Person } from '../world/server.ts';

test('tiles, checkpoints and entries make the tree whose head is signed, and never change', async () => {
  const { here, admin, size } = await withRecords(300);
  const get = getter(here.url, admin);
  const { verifierKey } = (await admin.ask('{ auditCheckpoint { verifierKey } }')).data.auditCheckpoint;
  const key = parseVerifierKey(verifierKey as string);

  const newest = await get('checkpoint');
  expect(newest.headers.get('content-type')).toBe('text/plain; charset=utf-8');
  expect(newest.headers.get('cache-control')).toBe('private, max-age=1');
  const head = openCheckpoint(newest.body.toString(), key);
  expect(head.size).toBe(size);
  expect((await get(`checkpoint/${size}`)).body).toEqual(newest.body);

  const [full, part, upper] = [
    await get('tile/0/000'),
    await get(`tile/0/001.p/${size - 256}`),
    await get('tile/1/000.p/1'),
  ];
  for (const { status, headers } of [full, part, upper])
    expect([status, headers.get('content-type'), headers.get('cache-control')]).toEqual([
      200,
      'application/octet-stream',
      'private, max-age=31536000, immutable',
    ]);
  const leaves = hashesIn(Buffer.concat([full.body, part.body]));
  expect(rootOf(leaves)).toEqual(head.root);
  expect(upper.body).toEqual(rootOf(leaves.slice(0, 256)));

  const bundle = Buffer.concat([
    (await get('tile/entries/000')).body,
    (await get(`tile/entries/001.p/${size - 256}`)).body,
  ]);
  expect(entriesIn(bundle).map(hashOfRecord)).toEqual(leaves);
  expect((await get('tile/0/001.p/3')).body).toEqual(part.body.subarray(0, 96));
});

test('what is not signed yet, not there, or oddly named is not found', async () => {
  const { here, admin, size } = await withRecords(3);
  const get = getter(here.url, admin);
  const odd = [
    'tile/0/000',
    `tile/0/000.p/${size + 1}`,
    'tile/0/000.p/0',
    'tile/0/000.p/256',
    'tile/0/00',
    'tile/0/x000/000',
    'tile/64/000',
    'tile/1/000.p/1',
    'tile/00/000.p/1',
    'tile/entries/000',
    'tile/entries/../checkpoint',
    `checkpoint/${size + 1}`,
    'checkpoint/007',
    'proof/01a2087c-f99e-785e-8d4d-e21efff26158.tlog-proof',
    'tile/0/000%0A',
    'tile/entries/000.p/1%0A',
    'proof/what',
    '',
  ];
  for (const path of odd) expect([path, (await get(path)).status]).toEqual([path, 404]);
});

test('the proof of one record stands for itself', async () => {
  const { here, admin, sql } = await withRecords(20);
  const id = await idAt(sql, admin, 11);
  const { body } = await getter(here.url, admin)(`proof/${id}.tlog-proof`);
  const { verifierKey } = (await admin.ask('{ auditCheckpoint { verifierKey } }')).data.auditCheckpoint;

  const proof = parseProof(body.toString());
  expect(proof.index).toBe(11);
  expect(JSON.parse(proof.record)).toMatchObject({ id, action: 'user.updated' });
  const key = parseVerifierKey(verifierKey as string);
  expect(verifyProof(proof, hashOfRecord(proof.record), key).size).toBe(22);
});

test('it is for those who may verify, each for its own tenant', async () => {
  const { here, admin } = await withRecords(3);
  const other = await here.tenant('Other');
  await signed(other.admin, 2);
  const everybody: [string, Person, number, number][] = [
    ['administrator', admin, 200, 404],
    ['auditor', await here.user(admin, 'AUDITOR'), 200, 404],
    ['member', await here.user(admin, 'MEMBER'), 403, 403],
    ['branch manager', await here.user(admin, 'BRANCH_MANAGER'), 403, 403],
    ['super administrator', await here.root(), 200, 200],
  ];
  for (const [who, person, own, foreign] of everybody) {
    const found = [
      (await getter(here.url, person, admin.tenantId)('checkpoint')).status,
      (await getter(here.url, person, other.id)('export.ndjson?to=0')).status,
    ];
    expect([who, ...found]).toEqual([who, own, foreign]);
  }
  const nobody = await fetch(`${here.url}/audit/${admin.tenantId}/checkpoint`);
  expect([nobody.status, nobody.headers.get('www-authenticate')]).toEqual([401, 'Bearer']);
  expect(await nobody.json()).toMatchObject({ errors: [{ extensions: { reason: 'SIGN_IN_REQUIRED' } }] });
});

test(
  'an export takes as long as its reader needs, past the time that other answers have',
  { timeout: 60_000 },
  async () => {
    const { here, admin } = await withRecords(3);
    const tenantId = admin.tenantId!;
    // More than the buffers between server and reader hold.
    const details = { note: 'x'.repeat(50_000) };
    await record(here.server.house.db, ...Array.from({ length: 400 }, () => ({ tenantId, details })));
    await allSigned(here.database.admin);
    const headers = { authorization: `Bearer ${admin.token}` };
    const response = await fetch(`${here.url}/audit/${tenantId}/export.ndjson`, { headers });
    await pause(31_000);
    expect((await response.text()).match(/^{"position":/gm)).toHaveLength(405);
  },
);

test('a span that is not there is refused with what is allowed', async () => {
  const { here, admin, size } = await withRecords(3);
  const get = getter(here.url, admin);
  for (const span of ['from=4&to=3', `to=${size + 1}`, 'from=-1', 'from=x', 'to=1e3']) {
    const { status, body } = await get(`export.ndjson?${span}`);
    expect([span, status]).toEqual([span, 400]);
    expect(body.toString()).toContain(`to at most ${size}`);
  }
  const { status, body } = await get('export.ndjson?form=2');
  expect([status, body.toString()]).toEqual([400, expect.stringContaining('is none of from and to')]);
  const beyond = await admin.ask(`{ verifyAuditLog(from: ${size + 1}) { ok } }`);
  expect(beyond.errors[0]!.extensions['fields']).toEqual({
    from: `must be at most ${size}: so many records are signed`,
  });
});

function getter(url: string, { token, tenantId }: Person, log = tenantId) {
  return async (path: string) => {
    const answer = await fetch(`${url}/audit/${log}/${path}`, {
      headers: { authorization: `Bearer ${token}` },
    });
    return { status: answer.status, headers: answer.headers, body: Buffer.from(await answer.arrayBuffer()) };
  };
}

function entriesIn(bundle: Buffer): string[] {
  const entries: string[] = [];
  for (let at = 0; at < bundle.length;) {
    const end = at + 2 + bundle.readUInt16BE(at);
    entries.push(bundle.toString('utf8', at + 2, end));
    at = end;
  }
  return entries;
}
