/**
 * Requests to addresses that users name (OWASP: server-side request forgery). What a name resolves to is checked by whoever connects,
 * for every connection, so a name that changes its mind in between leads nowhere; redirects are not followed.
 */
import { lookup } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import { Agent, request } from 'undici';

import { type Address, isWithin, type Network, parseAddress, parseNetwork } from './network.ts';

const TIMEOUT_MS = 15_000;
const URL_CHARS_MAX = 2_000;
/** More of an answer is not waited for; its connection is closed. */
const ANSWER_BYTES_MAX = 16_384;
/** All of IPv6 that is routed: what else there is stands for something else. */
const GLOBAL_IPV6: Network = parseNetwork('2000::/3')!;

/** Why a request may not be sent, or was not. Fit to be shown to who named the target. */
export class TargetError extends Error {
  override name = 'TargetError';
}

/** What came back: its status, and when it asks to be asked again. */
export interface Response {
  readonly status: number;
  readonly retryAfterSeconds: number | undefined;
}

export interface Targets {
  /** Resolves with what is wrong with a target, as far as it can be known now; undefined for nothing. */
  fault(url: string): Promise<string | undefined>;
  /** Posts, and reads no more than the head of the answer. Rejects with a TargetError when none comes. */
  post(url: string, headers: Readonly<Record<string, string>>, body: string): Promise<Response>;
  stop(): Promise<void>;
}

/** Public addresses by https, and besides them, by http as well, those in the networks that are allowed. */
export function openTargets(allowed: readonly string[]): Targets {
  const networks = allowed.map((entry) => parseNetwork(entry)!);
  const agent = new Agent({
    connect: { lookup: checkedLookup, timeout: TIMEOUT_MS },
    headersTimeout: TIMEOUT_MS,
    bodyTimeout: TIMEOUT_MS,
  });

  function isAllowed(address: Address): boolean {
    return networks.some((network) => isWithin(address, network));
  }

  /** What is wrong with an address, reached by that protocol. */
  function faultOf(text: string, protocol: string): string | undefined {
    const address = parseAddress(text);
    if (address && isAllowed(address)) return undefined;
    if (!address || !isPublic(address))
      return `${text} is no public address: WEBHOOK_ALLOWED_TARGETS may allow it`;
    return protocol === 'https:' ? undefined : 'must begin with https://';
  }

  function checkedLookup(...[host, options, answer]: Parameters<LookupFunction>): void {
    lookup(host, { ...options, all: true }, (error, addresses) => {
      const fault = error
        ? undefined
        : addresses.map(({ address }) => faultOf(address, 'https:')).find(Boolean);
      if (error || fault) return answer(error ?? new TargetError(fault), []);
      if (options.all) return answer(null, addresses);
      return answer(null, addresses[0]!.address, addresses[0]!.family);
    });
  }

  /** What is wrong before anything is sent; a name is looked up for http only, since https is checked by whoever connects. */
  function faultWritten(url: string): string | undefined {
    if (!/^https?:/i.test(url) || !URL.canParse(url)) return 'must be an https:// URL';
    const { protocol, username, password, hash, hostname } = new URL(url);
    if (url.length > URL_CHARS_MAX) return `must have at most ${URL_CHARS_MAX} characters`;
    if (username || password || hash) return 'must have no user, password or fragment';
    const host = hostname.replaceAll(/^\[|\]$/g, '');
    return isIP(host) === 0 ? undefined : faultOf(host, protocol);
  }

  async function fault(url: string): Promise<string | undefined> {
    const written = faultWritten(url);
    if (written !== undefined) return written;
    const { hostname, protocol } = new URL(url);
    if (hostname.startsWith('[') || isIP(hostname) !== 0) return undefined;
    const addresses = await addressesOf(hostname);
    if (addresses.length === 0) return `${hostname} is not the name of anything`;
    return addresses.map((address) => faultOf(address, protocol)).find(Boolean);
  }

  return {
    fault,
    async post(url, headers, body) {
      const wrong = url.startsWith('https:') ? faultWritten(url) : await fault(url);
      if (wrong !== undefined) throw new TargetError(wrong);
      try {
        const signal = AbortSignal.timeout(TIMEOUT_MS);
        const answer = await request(url, { method: 'POST', dispatcher: agent, signal, headers, body });
        // Its words are nobody's business: what matters is the status.
        answer.body.dump({ limit: ANSWER_BYTES_MAX }).catch(() => {});
        const retryAfter = Number(answer.headers['retry-after']);
        return {
          status: answer.statusCode,
          retryAfterSeconds: Number.isFinite(retryAfter) ? retryAfter : undefined,
        };
      } catch (cause) {
        throw new TargetError(wordsFor(cause), { cause });
      }
    },
    stop: () => agent.destroy(),
  };
}

function isPublic(address: Address): boolean {
  return address.range() === 'unicast' && (address.kind() === 'ipv4' || isWithin(address, GLOBAL_IPV6));
}

function addressesOf(host: string): Promise<string[]> {
  return new Promise((resolve) => {
    lookup(host, { all: true }, (error, addresses) =>
      resolve(error ? [] : addresses.map(({ address }) => address)),
    );
  });
}

function wordsFor(cause: unknown): string {
  if (cause instanceof TargetError) return cause.message;
  const { name, code, message } = cause as NodeJS.ErrnoException;
  if (name === 'TimeoutError' || code === 'UND_ERR_CONNECT_TIMEOUT')
    return `no answer within ${TIMEOUT_MS / 1000} s`;
  return code ?? message;
}
