/** IP addresses and networks as they are written. What is IPv4-mapped counts as IPv4. */
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

export type Address = ipaddr.IPv4 | ipaddr.IPv6;

/** An address in a network, and how many of its first bits they have in common. */
export type Network = readonly [Address, number];

/**
 * Node decides what is an address, ipaddr.js what it is: ipaddr.js alone takes `1.2.3`, `01.2.3.4` and `2130706433`,
 * and reads the long obsolete `::1.2.3.4` as IPv4-mapped, which it is not. Undefined for what is none.
 */
export function parseAddress(text: string): Address | undefined {
  if (isIP(text) === 0 || text.includes('%') || /^::\d+\./.test(text)) return undefined;
  return ipaddr.process(text);
}

/** Reads `10.0.0.0/8`, `2001:db8::/32` or the single address `10.0.0.1`; bits beyond the prefix say nothing. Undefined for what is none. */
export function parseNetwork(entry: string): Network | undefined {
  const [text = '', prefix, ...rest] = entry.trim().split('/');
  const address = parseAddress(text);
  const written = isIP(text) === 6 ? 128 : 32;
  const bits = prefix === undefined ? written : /^\d{1,3}$/.test(prefix) ? Number(prefix) : Number.NaN;
  const mapped = address?.kind() === 'ipv4' && written === 128;
  // ::ffff:0:0/96 is all of IPv4; a shorter prefix would reach beyond it.
  if (!address || rest.length > 0 || !(bits <= written) || (mapped && bits < 96)) return undefined;
  return [address, mapped ? bits - 96 : bits];
}

/** Whether the address lies in the network. */
export function isWithin(address: Address, [network, bits]: Network): boolean {
  return network.kind() === address.kind() && address.match(network, bits);
}

/** The first and the last address of a network. */
export function endsOf([address, bits]: Network): readonly [string, string] {
  const kind = address.kind() === 'ipv4' ? ipaddr.IPv4 : ipaddr.IPv6;
  const cidr = `${address.toString()}/${bits}`;
  return [kind.networkAddressFromCIDR(cidr).toString(), kind.broadcastAddressFromCIDR(cidr).toString()];
}
