import type { IncomingMessage } from 'node:http';

import { addressKey } from '../platform/addressKey.ts';
import { clientAddress, type TrustedProxies } from './address.ts';

/** Of one address, a network of IPv6. */
const CONNECTIONS_MAX = 50;

/** How many connections that stay an address holds: WebSockets and event streams together. */
export interface ConnectionLimit {
  /** Whether there is room for one more of who sends that request. It is held until `connection` closes. */
  admits(request: IncomingMessage, connection: NodeJS.EventEmitter): boolean;
}

/** Opens the count, with everybody's at nothing. */
export function openConnectionLimit(trusted: TrustedProxies): ConnectionLimit {
  const held = new Map<string, number>();
  return {
    admits({ headers, socket }, connection) {
      const { ip } = clientAddress({ peer: socket.remoteAddress, headers, trusted });
      const address = addressKey(ip) ?? 'none';
      const open = held.get(address) ?? 0;
      if (open >= CONNECTIONS_MAX) return false;
      held.set(address, open + 1);
      connection.once('close', () => {
        const left = held.get(address)! - 1;
        if (left > 0) held.set(address, left);
        else held.delete(address);
      });
      return true;
    },
  };
}
