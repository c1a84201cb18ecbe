import * as fc from 'fast-check';
import { expect, test } from 'vitest';

import { addressKey } from '../../src/platform/addressKey.ts';

test.each([
  ['192.0.2.1', '192.0.2.1'],
  ['0.0.0.0', '0.0.0.0'],
  ['::ffff:192.0.2.1', '192.0.2.1'],
  ['::ffff:c000:201', '192.0.2.1'],
  ['0:0:0:0:0:FFFF:192.0.2.1', '192.0.2.1'],
  ['2001:db8::1', '2001:db8::/64'],
  ['2001:DB8:0:0:ffff:ffff:ffff:ffff', '2001:db8::/64'],
  ['2001:db8:0:1::1', '2001:db8:0:1::/64'],
  ['2001:db8:0:1:2:3:192.0.2.1', '2001:db8:0:1::/64'],
  ['::1', '::/64'],
  ['::', '::/64'],
  ['fe80::1%eth0', 'fe80::/64'],
])('failures from %s are counted under %s', (ip, key) => {
  expect(addressKey(ip)).toBe(key);
});

test.each([
  null,
  '',
  'unknown',
  '1.2.3',
  '01.2.3.4',
  '2130706433',
  '1.2.3.4/24',
  '2001:db8::/64',
  '[::1]',
  '::1 ',
])('%j is no address, and nobody can be told by it', (ip) => {
  expect(addressKey(ip)).toBeNull();
});

test('the addresses of one /64 are one, those of two never', () => {
  const half = fc.array(fc.integer({ min: 0, max: 0xffff }), { minLength: 4, maxLength: 4 });
  const written = (groups: number[]) => groups.map((group) => group.toString(16)).join(':');
  fc.assert(
    fc.property(half, half, half, half, (network, other, host, guest) => {
      // 0:0:0:0 holds the IPv4-mapped addresses, which are no network of their own.
      fc.pre(written(network) !== written(other) && network.some(Boolean) && other.some(Boolean));
      const key = addressKey(written([...network, ...host]));
      expect(addressKey(written([...network, ...guest]))).toBe(key);
      expect(addressKey(written([...other, ...host]))).not.toBe(key);
    }),
  );
});
