import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import { connect, isIP, SocketAddress } from 'node:net';
import proxyAddr from '@fastify/proxy-addr';
import * as fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { type ClientAddress, clientAddress, parseTrustedProxies } from '../../src/http/address.ts';

const trusted = parseTrustedProxies(['10.0.0.0/8']);
const nobody = parseTrustedProxies([]);
const PEER = '10.0.0.1';

function ipOf(
  forwardedFor: string | string[] | undefined,
  peer: string | undefined = PEER,
  proxies = trusted,
) {
  const headers = forwardedFor === undefined ? {} : { 'x-forwarded-for': forwardedFor };
  return clientAddress({ peer, headers, trusted: proxies }).ip;
}

test('without trusted proxies the peer is the client, whatever the headers say', () => {
  const headers = { 'x-forwarded-for': '1.2.3.4', 'x-real-ip': '1.2.3.4', forwarded: 'for=1.2.3.4' };
  expect(clientAddress({ peer: '192.0.2.1', headers, trusted: nobody }).ip).toBe('192.0.2.1');
  expect(clientAddress({ peer: PEER, headers, trusted: nobody }).ip).toBe(PEER);
});

test('an untrusted peer is the client, whatever its headers say', () => {
  const headers = { 'x-forwarded-for': '1.2.3.4', 'x-real-ip': '1.2.3.4' };
  expect(clientAddress({ peer: '192.0.2.1', headers, trusted }).ip).toBe('192.0.2.1');
});

test.each([
  // the walk
  ['1.2.3.4', '1.2.3.4'],
  ['6.6.6.6, 1.2.3.4', '1.2.3.4'],
  ['1.2.3.4, 10.0.0.9', '1.2.3.4'],
  ['6.6.6.6, 1.2.3.4, 10.0.0.9, 10.0.0.8', '1.2.3.4'],
  ['10.0.0.7, 10.0.0.8, 10.0.0.9', '10.0.0.7'],
  ['10.0.0.7, 1.2.3.4, 10.0.0.9', '1.2.3.4'],
  ['1.2.3.4,10.0.0.9', '1.2.3.4'],
  ['  1.2.3.4 ,\t10.0.0.9\t', '1.2.3.4'],
  // how an address is written
  ['1.2.3.4:5678', '1.2.3.4'],
  ['1.2.3.4:65535, 10.0.0.9:80', '1.2.3.4'],
  ['[2001:db8::1]:443', '2001:db8::1'],
  ['[2001:db8::1]', '2001:db8::1'],
  ['"[2001:db8::1]"', '2001:db8::1'],
  ['"[2001:db8::1]:443"', '2001:db8::1'],
  ['"1.2.3.4"', '1.2.3.4'],
  ['2001:db8:0:0:0:0:0:1', '2001:db8::1'],
  ['2001:0DB8:0000:0000:0000:0000:0000:0001', '2001:db8::1'],
  ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['2001:db8::1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['2001:db8::1:443', '2001:db8::1:443'],
  ['::', '::'],
  ['::1', '::1'],
  ['::ffff:1.2.3.4', '1.2.3.4'],
  ['::ffff:102:304', '1.2.3.4'],
  ['::FFFF:102:304', '1.2.3.4'],
  ['0:0:0:0:0:ffff:1.2.3.4', '1.2.3.4'],
  ['[::ffff:1.2.3.4]:443', '1.2.3.4'],
  ['1.2.3.4, ::ffff:10.0.0.9', '1.2.3.4'],
  ['1.2.3.4, [::ffff:a00:9]:443', '1.2.3.4'],
  ['64:ff9b::1.2.3.4', '64:ff9b::102:304'],
  ['0.0.0.0', '0.0.0.0'],
  ['255.255.255.255', '255.255.255.255'],
])('behind a trusted proxy %j is %s', (header, ip) => {
  expect(ipOf(header)).toBe(ip);
});

test.each([
  '',
  ' ',
  ',',
  ',,',
  '1.2.3.4,',
  '1.2.3.4, ',
  'unknown',
  '1.2.3.4, unknown',
  '_hidden',
  '1.2.3.4, _hidden',
  'localhost',
  'example.com',
  '01.2.3.4',
  '1.2.3.04',
  '0x7f.1',
  '0x7f.0.0.1',
  '0177.0.0.1',
  '2130706433',
  '127.1',
  '1.2.3',
  '1.2.3.4.5',
  '1.2.3.256',
  '-1.2.3.4',
  '1.2.3.4/24',
  '2001:db8::/32',
  'fe80::1%eth0',
  '[fe80::1%eth0]:80',
  '::ffff:01.2.3.4',
  '::1.2.3.4',
  '1::2::3',
  '1:2:3:4:5:6:7:8:9',
  '12345::1',
  ':::',
  '[::1',
  '::1]',
  '[]',
  '[]:80',
  '[1.2.3.4]',
  '[1.2.3.4]:80',
  '[[::1]]',
  '[::1]80',
  '[::1]:',
  '1.2.3.4:',
  '1.2.3.4:65536',
  '1.2.3.4:-1',
  '1.2.3.4:80:80',
  '1.2.3.4:http',
  '"1.2.3.4',
  '1.2.3.4"',
  '""1.2.3.4""',
  "'1.2.3.4'",
  'for=1.2.3.4',
  '1.2.3.4;proto=https',
  '1.2.3.4 5.6.7.8',
  '1.2.3.4\0',
  '１.2.3.4',
  '١.2.3.4',
  '1。2。3。4',
  '<script>alert(1)</script>',
  "1.2.3.4' OR '1'='1",
  'x'.repeat(100_000),
  '['.repeat(10_000),
])('%j is not an address: the last good hop is taken', (header) => {
  expect(ipOf(header)).toBe(PEER);
  expect(ipOf(`${header}, 10.0.0.9`)).toBe('10.0.0.9');
  expect(ipOf(`${header}, 1.2.3.4`)).toBe('1.2.3.4');
});

test.each([
  [undefined, null],
  ['', null],
  ['/run/custos.sock', null],
  ['192.0.2.1', '192.0.2.1'],
  ['::ffff:192.0.2.1', '192.0.2.1'],
  ['2001:DB8:0::1', '2001:db8::1'],
  ['fe80::1%eth0', 'fe80::1'],
])('the peer %j is %j', (peer, ip) => {
  expect(clientAddress({ peer, headers: { 'x-forwarded-for': '1.2.3.4' }, trusted })).toEqual({
    ip,
    forwardedFor: ['1.2.3.4'],
  });
});

test('a proxy reached over a dual-stack socket is trusted like any other', () => {
  expect(ipOf('1.2.3.4', '::ffff:10.0.0.1')).toBe('1.2.3.4');
  expect(ipOf('1.2.3.4', '::ffff:11.0.0.1')).toBe('11.0.0.1');
});

test('several X-Forwarded-For lines are one list, in order', () => {
  expect(ipOf(['6.6.6.6', '1.2.3.4, 10.0.0.9'])).toBe('1.2.3.4');
  expect(ipOf(['1.2.3.4', '10.0.0.9'])).toBe('1.2.3.4');
});

test('at most 32 hops are walked and kept, the nearest ones', () => {
  const many = ['1.2.3.4', ...Array.from({ length: 10_000 }, (_, i) => `10.0.${i >> 8}.${i & 255}`)];
  const { ip, forwardedFor } = clientAddress({
    peer: PEER,
    headers: { 'x-forwarded-for': many.join(', ') },
    trusted,
  });
  expect(forwardedFor).toEqual(many.slice(-32));
  expect(ip).toBe(many.at(-32));
});

test('the chain is kept as it came, believed or not, but only what is short and printable', () => {
  const header = ` 6.6.6.6 ,unknown,, 1.2.3.4:80,<b>,ta\tb,esc\u001b[31m,ünï,${'x'.repeat(64)},${'y'.repeat(65)}`;
  for (const proxies of [trusted, nobody]) {
    const { forwardedFor } = clientAddress({
      peer: PEER,
      headers: { 'x-forwarded-for': header },
      trusted: proxies,
    });
    expect(forwardedFor).toEqual(['6.6.6.6', 'unknown', '1.2.3.4:80', '<b>', 'x'.repeat(64)]);
  }
  expect(clientAddress({ peer: PEER, headers: {}, trusted }).forwardedFor).toBeNull();
  expect(clientAddress({ peer: PEER, headers: { 'x-forwarded-for': '' }, trusted }).forwardedFor).toEqual([]);
});

test.each([
  ['from a trusted proxy', PEER, { 'x-real-ip': '1.2.3.4' }, '1.2.3.4'],
  ['with a port', PEER, { 'x-real-ip': '[2001:db8::1]:443' }, '2001:db8::1'],
  ['that is itself a proxy', PEER, { 'x-real-ip': '10.0.0.9' }, '10.0.0.9'],
  ['from anyone else', '192.0.2.1', { 'x-real-ip': '1.2.3.4' }, '192.0.2.1'],
  ['beside X-Forwarded-For', PEER, { 'x-real-ip': '6.6.6.6', 'x-forwarded-for': '1.2.3.4' }, '1.2.3.4'],
  ['beside an empty X-Forwarded-For', PEER, { 'x-real-ip': '6.6.6.6', 'x-forwarded-for': '' }, PEER],
  ['beside a useless X-Forwarded-For', PEER, { 'x-real-ip': '6.6.6.6', 'x-forwarded-for': 'unknown' }, PEER],
  ['that is not an address', PEER, { 'x-real-ip': 'unknown' }, PEER],
  ['given twice', PEER, { 'x-real-ip': '1.2.3.4, 6.6.6.6' }, PEER],
  ['that is empty', PEER, { 'x-real-ip': '' }, PEER],
])('X-Real-IP %s', (_, peer, headers, ip) => {
  expect(clientAddress({ peer, headers, trusted }).ip).toBe(ip);
});

test('Forwarded and the headers of CDNs are ignored', () => {
  const headers = {
    forwarded: 'for=1.2.3.4',
    'cf-connecting-ip': '1.2.3.4',
    'true-client-ip': '1.2.3.4',
    'x-client-ip': '1.2.3.4',
  };
  expect(clientAddress({ peer: PEER, headers, trusted })).toEqual({ ip: PEER, forwardedFor: null });
});

test.each([
  ['10.0.0.0/8', '10.255.255.255', '11.0.0.0'],
  ['10.0.0.1', '10.0.0.1', '10.0.0.2'],
  ['10.0.0.1/32', '10.0.0.1', '10.0.0.2'],
  [' 10.0.0.0/31 ', '10.0.0.1', '10.0.0.2'],
  ['0.0.0.0/0', '192.0.2.1', '2001:db8::1'],
  ['::/0', '2001:db8::1', '192.0.2.1'],
  ['2001:db8::/32', '2001:db8:ffff::1', '2001:db9::1'],
  ['2001:db8::1', '2001:db8:0::1', '2001:db8::2'],
  ['::ffff:10.0.0.0/104', '10.1.2.3', '11.0.0.0'],
  ['::ffff:10.0.0.1', '10.0.0.1', '10.0.0.2'],
])('%s trusts %s and not %s', (network, inside, outside) => {
  const proxies = parseTrustedProxies(['203.0.113.7', network]);
  expect(ipOf('1.2.3.4', inside, proxies)).toBe('1.2.3.4');
  expect(ipOf('1.2.3.4', outside, proxies)).toBe(outside);
});

test.each([
  '',
  'all',
  'loopback',
  'example.com',
  '10.0.0.0/33',
  '10.0.0.0/-1',
  '10.0.0.0/',
  '10.0.0.0/8/8',
  '10.0.0.0/255.0.0.0',
  '10.0.0/8',
  '10.0.0.01',
  '2001:db8::/129',
  'fe80::1%eth0',
  '::ffff:0:0/95',
  '10.0.0.0/8 10.0.0.1',
])('%j is not a network, and the message says which entry is wrong', (entry) => {
  expect(() => parseTrustedProxies(['10.0.0.0/8', entry])).toThrow(
    `${JSON.stringify(entry)} is not a network`,
  );
});

test('an address is always written one way, the way Node and URLs write it', () => {
  const v6 = fc.ipV6().filter((text) => !/^::\d+\./.test(text) && !text.startsWith('::ffff:'));
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), v6), (text) => {
      const address = new SocketAddress({ address: text, family: text.includes(':') ? 'ipv6' : 'ipv4' });
      const written =
        address.family === 'ipv4' ? address.address : new URL(`http://[${text}]/`).hostname.slice(1, -1);
      fc.pre(!written.startsWith('::ffff:'));
      expect(ipOf(text)).toBe(written);
      expect(ipOf(written, '10.9.9.9')).toBe(written);
    }),
  );
});

test('whatever a client writes in front, it cannot choose the address', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (forged) => {
      expect(ipOf(`${forged}, 1.2.3.4, 10.0.0.9`)).toBe('1.2.3.4');
      expect(isIP(ipOf(forged) ?? '')).toBeGreaterThan(0);
    }),
  );
});

test('a peer that is not trusted cannot choose its address, whatever it writes into whatever header', () => {
  const names = fc.constantFrom(...FORWARDING_HEADERS);
  const value = fc.oneof(fc.string({ unit: 'binary' }), fc.ipV4(), fc.ipV6(), chainOf(fc.ipV4()));
  const headers = fc.dictionary(names, fc.oneof(value, fc.array(value)));
  fc.assert(
    fc.property(fc.ipV4(), headers, (peer, headers) => {
      fc.pre(!peer.startsWith('10.'));
      expect(clientAddress({ peer, headers, trusted }).ip).toBe(peer);
      expect(clientAddress({ peer, headers, trusted: nobody }).ip).toBe(peer);
    }),
  );
});

test('a chain of addresses leads to whom proxy-addr, which Express and Fastify ask, takes for the client', () => {
  const networks = ['10.0.0.0/8', '172.16.0.0/12', '2001:db8::/32'];
  const proxies = parseTrustedProxies(networks);
  const oracle = proxyAddr.compile(networks);
  const proxy = fc.constantFrom('10.0.0.1', '10.255.255.255', '172.31.0.9', '2001:db8::1', '2001:db8:f::9');
  const anyone = fc.constantFrom('11.0.0.1', '172.32.0.1', '192.0.2.1', '2001:db9::1', '::1');
  const hop = fc.oneof(proxy, anyone, fc.ipV4());
  fc.assert(
    fc.property(fc.oneof(proxy, hop), fc.array(hop, { minLength: 1, maxLength: 31 }), (peer, hops) => {
      const request = { headers: { 'x-forwarded-for': hops.join(', ') }, socket: { remoteAddress: peer } };
      expect(ipOf(hops.join(', '), peer, proxies)).toBe(proxyAddr(request as never, oracle));
    }),
    { numRuns: 2_000 },
  );
});

const FORWARDING_HEADERS = [
  'x-forwarded-for',
  'x-real-ip',
  'forwarded',
  'x-client-ip',
  'x-forwarded',
  'forwarded-for',
  'via',
  'cf-connecting-ip',
  'true-client-ip',
  'x-cluster-client-ip',
  'x-originating-ip',
];

function chainOf(address: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc.array(address, { maxLength: 40 }).map((all) => all.join(', '));
}

let server: ReturnType<typeof createServer>;
let seen: ClientAddress | undefined;
const loopback = parseTrustedProxies(['127.0.0.0/8']);

beforeAll(async () => {
  server = createServer((request, response) => {
    seen = addressOf(request);
    response.end();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
});
afterAll(() => server.close());

function addressOf(request: IncomingMessage): ClientAddress {
  return clientAddress({ peer: request.socket.remoteAddress, headers: request.headers, trusted: loopback });
}

/** What a real server answers to raw header lines, and whom it took the client for. */
async function ask(...lines: string[]): Promise<{ status: string; seen: ClientAddress | undefined }> {
  seen = undefined;
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The server has no port.');
  const socket = connect(address.port, '127.0.0.1');
  socket.on('error', () => socket.destroy());
  socket.write(
    `GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`,
  );
  const chunks: Buffer[] = await socket.toArray();
  return { status: Buffer.concat(chunks).toString().slice(9, 12), seen };
}

test('on the wire: two header lines are joined, 64 KB are 431, and NUL or a bare CR are refused', async () => {
  expect(await ask('X-Forwarded-For: 6.6.6.6', 'x-forwarded-for: 1.2.3.4, 127.0.0.9')).toEqual({
    status: '200',
    seen: { ip: '1.2.3.4', forwardedFor: ['6.6.6.6', '1.2.3.4', '127.0.0.9'] },
  });
  expect(await ask('X-Real-IP: 1.2.3.4', 'X-Real-IP: 6.6.6.6')).toEqual({
    status: '200',
    seen: { ip: '127.0.0.1', forwardedFor: null },
  });
  expect(await ask(`X-Forwarded-For: ${'1.2.3.4, '.repeat(8000)}`)).toEqual({
    status: '431',
    seen: undefined,
  });
  expect(await ask('X-Forwarded-For: 1.2.3.4\0')).toEqual({ status: '400', seen: undefined });
  expect(await ask('X-Forwarded-For: 1.2.3.4\rX-Real-IP: 6.6.6.6')).toEqual({
    status: '400',
    seen: undefined,
  });
});
