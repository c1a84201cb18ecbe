/** What may be posted to, and what not: the table of server-side request forgery. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';

import { openTargets } from '../../src/platform/targets.ts';

const REFUSED = [
  // Loopback, in every spelling that a URL takes.
  'https://127.0.0.1/',
  'https://127.1/',
  'https://2130706433/',
  'https://0x7f000001/',
  'https://0177.0.0.1/',
  'https://[::1]/',
  'https://[::ffff:127.0.0.1]/',
  'https://[::127.0.0.1]/',
  'https://localhost/',
  'https://localhost:5432/',
  'https://localhost./',
  'https://0.0.0.0/',
  'https://[::]/',
  // Private, shared and link-local: the metadata of clouds among them.
  'https://10.0.0.1/',
  'https://172.16.0.1/',
  'https://192.168.1.1/',
  'https://100.64.0.1/',
  'https://169.254.169.254/latest/meta-data/',
  'https://[fe80::1]/',
  'https://[fc00::1]/',
  'https://[fd00:ec2::254]/',
  'https://[fec0::1]/',
  // What stands for another address.
  'https://[64:ff9b::7f00:1]/',
  'https://[2002:7f00:1::]/',
  'https://[2001::1]/',
  // Nobody in particular.
  'https://255.255.255.255/',
  'https://224.0.0.1/',
  'https://[ff02::1]/',
  'https://240.0.0.1/',
  'https://192.0.2.1/',
  'https://198.18.0.1/',
  'https://[2001:db8::1]/',
  // No https, or more than an address.
  'http://93.184.216.34/',
  'ftp://example.com/',
  'file:///etc/passwd',
  'gopher://example.com/',
  'javascript:alert(1)',
  'https://user:password@example.com/',
  'https://example.com/#fragment',
  'https://',
  'example.com',
  '',
  `https://example.com/${'a'.repeat(2_000)}`,
  'https://this-name-does-not-exist.invalid/',
];

function opened(allowed: readonly string[] = []) {
  const targets = openTargets(allowed);
  onTestFinished(() => targets.stop());
  return targets;
}

/** A server that counts who comes, and sends them elsewhere. */
async function listening(location?: string) {
  let calls = 0;
  const server = createServer((_request, response) => {
    calls++;
    response.writeHead(location ? 307 : 200, location ? { location } : {}).end('x'.repeat(100_000));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
  });
  return { port: (server.address() as AddressInfo).port, calls: () => calls };
}

test.each(REFUSED)('%s is refused, when it is named and when it is posted to', async (url) => {
  const targets = opened();
  expect(await targets.fault(url)).toEqual(expect.any(String));
  await expect(targets.post(url, {}, '{}')).rejects.toMatchObject({ name: 'TargetError' });
});

test('a public address by https is none of these', async () => {
  const targets = opened();
  for (const url of ['https://93.184.216.34/', 'https://[2606:2800:220:1:248:1893:25c8:1946]:8443/hook?a=b'])
    expect([url, await targets.fault(url)]).toEqual([url, undefined]);
});

test('what a name resolves to is checked by whoever connects, too: a name that changed its mind leads nowhere', async () => {
  const { port, calls } = await listening();
  // `fault` is not asked: as if the name had led elsewhere then.
  await expect(opened().post(`https://localhost:${port}/`, {}, '{}')).rejects.toThrow('is no public address');
  expect(calls()).toBe(0);
});

test('the operator allows networks, by http too, and nothing beside them', async () => {
  const { port, calls } = await listening();
  const targets = opened(['127.0.0.1', '10.1.0.0/16']);
  for (const url of [`http://127.0.0.1:${port}/`, 'https://10.1.2.3/', 'http://10.1.2.3/'])
    expect([url, await targets.fault(url)]).toEqual([url, undefined]);
  for (const url of ['https://127.0.0.2/', 'https://10.2.0.1/', 'http://93.184.216.34/', 'https://[::1]/'])
    expect([url, await targets.fault(url)]).toEqual([url, expect.any(String)]);
  expect(await targets.post(`http://127.0.0.1:${port}/`, {}, '{}')).toMatchObject({ status: 200 });
  expect(calls()).toBe(1);
});

test('a redirect is an answer, not a way', async () => {
  const elsewhere = await listening();
  const { port } = await listening(`http://127.0.0.1:${elsewhere.port}/`);
  const answer = await opened(['127.0.0.1']).post(`http://127.0.0.1:${port}/`, {}, '{}');
  expect([answer.status, elsewhere.calls()]).toEqual([307, 0]);
});
