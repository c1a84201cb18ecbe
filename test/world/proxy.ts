import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

/** A bad network between a client and a server: a TCP proxy that can swallow, hold and cut what passes. */
export interface Proxy {
  /** The same URL, by way of the proxy. */
  readonly url: string;
  /** From now on nothing passes in either direction and nothing is told, as behind a firewall that drops packets. */
  freeze(): void;
  /** New connections pass again; those that were frozen stay dead. */
  heal(): void;
  /** Cuts all connections there are, at both ends. */
  cutAll(): void;
  /** Resolves when a client has sent these bytes; nobody gets them nor an answer, and both ends are cut. */
  cutBefore(bytes: string): Promise<void>;
  /** Resolves when the server has answered to these bytes; the answer is lost, and both ends are cut. */
  cutAfter(bytes: string): Promise<void>;
  stop(): Promise<void>;
}

interface Trap {
  readonly bytes: string;
  readonly pass: boolean;
  readonly spring: () => void;
}

export async function openProxy(target: string): Promise<Proxy> {
  const address = new URL(target);
  const sockets = new Set<Socket>();
  let frozen = new WeakSet<Socket>();
  let freezing = false;
  let trap: Trap | undefined;

  const server = createServer((client) => {
    const upstream = connect({ host: address.hostname, port: Number(address.port) });
    let sprung: Trap | undefined;
    const cut = () => {
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      if (freezing) frozen.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        // A frozen network does not tell one end that the other has gone.
        if (!frozen.has(socket)) cut();
      });
    }
    client.on('data', (chunk) => {
      if (frozen.has(client)) return;
      if (trap && chunk.includes(trap.bytes)) {
        sprung = trap;
        trap = undefined;
        if (!sprung.pass) {
          cut();
          sprung.spring();
          return;
        }
      }
      upstream.write(chunk);
    });
    upstream.on('data', (chunk) => {
      if (frozen.has(upstream)) return;
      if (sprung) {
        cut();
        sprung.spring();
      } else client.write(chunk);
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const own = server.address();
  if (own === null || typeof own === 'string') throw new Error('The proxy has no port.');
  const setTrap = (bytes: string, pass: boolean) =>
    new Promise<void>((spring) => {
      trap = { bytes, pass, spring };
    });

  return {
    url: Object.assign(new URL(target), { host: `127.0.0.1:${own.port}` }).href,
    freeze() {
      freezing = true;
      for (const socket of sockets) frozen.add(socket);
    },
    heal() {
      freezing = false;
    },
    cutAll() {
      for (const socket of sockets) socket.destroy();
    },
    cutBefore: (bytes) => setTrap(bytes, false),
    cutAfter: (bytes) => setTrap(bytes, true),
    async stop() {
      frozen = new WeakSet();
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
