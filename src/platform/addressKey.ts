import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

/** How much of an IPv6 address tells one customer from the next: a site is given a /64, and every host in it 2^64 names. */
const NETWORK_BYTES = 8;

/**
 * What failures from an address are counted under: an IPv4 address itself, the /64 network of an IPv6 one, such as
 * `2001:db8::/64`. An IPv4-mapped address is the IPv4 one, however it is written. null for what is no address: then
 * there is nobody to tell apart.
 */
export function addressKey(ip: string | null): string | null {
  if (ip === null || isIP(ip) === 0) return null;
  const address = ipaddr.process(ip);
  if (address.kind() === 'ipv4') return address.toString();
  const network = address.toByteArray().fill(0, NETWORK_BYTES);
  return `${(ipaddr.fromByteArray(network) as ipaddr.IPv6).toRFC5952String()}/64`;
}
