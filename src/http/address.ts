import type { IncomingHttpHeaders } from 'node:http';

import { type Address, isWithin, type Network, parseAddress, parseNetwork } from '../platform/network.ts';

/** No chain of proxies is this long; what stands further left was written by anyone. */
const HOPS_MAX = 32;
const HOP_CHARS_MAX = 64;

/** The networks whose forwarding headers are believed. */
export interface TrustedProxies {
  has(address: Address): boolean;
}

/** Where a request came from. */
export interface ClientAddress {
  /** IPv4, or IPv6 as RFC 5952 writes it; null if the peer has no address (a Unix socket). */
  readonly ip: string | null;
  /**
   * X-Forwarded-For as received, believed or not: its last 32 entries, those that are printable and of at most 64
   * characters. null without the header. Evidence, not an address: anyone can have written it.
   */
  readonly forwardedFor: string[] | null;
}

/**
 * The address of the client behind our own proxies.
 *
 * X-Forwarded-For is walked from the right, from the peer on, for as long as the hop that wrote an entry is trusted:
 * the first address that is not is the client's. Something that is not an address ends the walk at the last good hop.
 * X-Real-IP counts from a trusted peer that sent no X-Forwarded-For. `Forwarded` (RFC 7239) is ignored: a proxy that
 * does not write it passes on what the client wrote. Never throws.
 */
export function clientAddress(request: {
  peer: string | undefined;
  headers: IncomingHttpHeaders;
  trusted: TrustedProxies;
}): ClientAddress {
  const hops = hopsOf(request.headers['x-forwarded-for']);
  const peer = parsePeer(request.peer);
  const client = peer && clientBehind(peer, hops, request.headers['x-real-ip'], request.trusted);
  return { ip: client ? textOf(client) : null, forwardedFor: hops?.filter(isPrintable) ?? null };
}

/**
 * Reads networks such as `10.0.0.0/8`, `2001:db8::/32` or the single address `10.0.0.1`; IPv4-mapped IPv6 ones count
 * as IPv4. Throws a RangeError naming the entry that is neither.
 */
export function parseTrustedProxies(cidrs: readonly string[]): TrustedProxies {
  const networks = cidrs.map((entry): Network => parseNetwork(entry) ?? refuse(entry));
  return { has: (address) => networks.some((network) => isWithin(address, network)) };
}

function refuse(entry: string): never {
  throw new RangeError(
    `${JSON.stringify(entry)} is not a network such as 10.0.0.0/8, 2001:db8::/32 or 10.0.0.1.`,
  );
}

function clientBehind(
  peer: Address,
  hops: string[] | undefined,
  realIp: string | string[] | undefined,
  trusted: TrustedProxies,
): Address {
  if (!hops) return (trusted.has(peer) && typeof realIp === 'string' && parseHop(realIp)) || peer;
  let client = peer;
  for (const hop of hops.toReversed()) {
    if (!trusted.has(client)) break;
    const address = parseHop(hop);
    if (!address) break;
    client = address;
  }
  return client;
}

/** Node joins repeated headers with commas; an injected request may hold them as an array. */
function hopsOf(header: string | string[] | undefined): string[] | undefined {
  if (header === undefined) return undefined;
  return String(header)
    .split(',')
    .slice(-HOPS_MAX)
    .map((hop) => hop.trim());
}

function isPrintable(hop: string): boolean {
  return /^[\x20-\x7e]+$/.test(hop) && hop.length <= HOP_CHARS_MAX;
}

/** One entry: an address, an IPv4 address with a port, or an IPv6 one in brackets, with a port or without; quotes. */
function parseHop(hop: string): Address | undefined {
  const bare = /^"(.*)"$/.exec(hop.trim())?.[1] ?? hop.trim();
  const withPort = /^(?:\[([^\]]*:[^\]]*)\]|([\d.]+))(?::(\d{1,5}))?$/.exec(bare);
  if (!withPort) return parseAddress(bare);
  const [, v6, v4, port = '0'] = withPort;
  return Number(port) <= 65_535 ? parseAddress(v6 ?? v4 ?? '') : undefined;
}

/** The other end of a socket; a link-local one carries its interface, which means nothing elsewhere. */
function parsePeer(peer: string | undefined): Address | undefined {
  return parseAddress(peer?.replace(/%.*$/, '') ?? '');
}

function textOf(address: Address): string {
  return 'toRFC5952String' in address ? address.toRFC5952String() : address.toString();
}
