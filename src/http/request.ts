import type { IncomingMessage } from 'node:http';

import type { RequestFacts, Services } from '../audit/act.ts';
import type { AuditTransport } from '../generated/types.ts';
import { idAt } from '../platform/ids.ts';
import { clientAddress, type TrustedProxies } from './address.ts';

const REQUEST_ID = /^[\w.:/+=-]{1,128}$/;

/**
 * The id a client gave its request in `X-Request-ID`, if it is at most 128 harmless characters; a new one otherwise. That is a
 * UUIDv7: random ids would write another page of the index on them for each record.
 */
export function requestIdOf(request: Pick<IncomingMessage, 'headers'>): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && REQUEST_ID.test(given) ? given : idAt(BigInt(Date.now()) * 1000n);
}

/** What a record tells of a request: the same on HTTP and on the WebSocket's upgrade. */
export function requestFacts(
  { headers, socket }: IncomingMessage,
  { id, transport, trusted }: { id: string; transport: AuditTransport; trusted: TrustedProxies },
): RequestFacts {
  const { ip, forwardedFor } = clientAddress({ peer: socket.remoteAddress, headers, trusted });
  return { id, transport, ipAddress: ip, userAgent: headers['user-agent'] ?? null, forwardedFor };
}

/** The token of `Authorization: Bearer ...`; the scheme in any case (RFC 9110, 11.1). */
export function bearerToken(authorization: unknown): string | undefined {
  return typeof authorization === 'string' ? /^bearer +(\S+) *$/i.exec(authorization)?.[1] : undefined;
}

/** For how many milliseconds a token still holds; 0 for one that does not. */
export function msLeftOf({ tokens, clock }: Pick<Services, 'tokens' | 'clock'>, token: string): number {
  const bearer = tokens.verify(token);
  return bearer.ok ? Math.max(bearer.expiresAt * 1000 - Number(clock.now() / 1000n), 0) : 0;
}
