/** What receives webhooks: a real server, which answers as the test says, checks signatures and keeps what came. */
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';
import { onTestFinished } from 'vitest';

/** Allowed, and nobody listens: port 9 is `discard`. */
export const ALLOWED_TARGET = 'http://127.0.0.1:9/';

/** A message as it came. */
export interface Received {
  readonly id: string;
  readonly body: string;
  readonly headers: IncomingHttpHeaders;
}

/** Answers a message; without an answer the sender hangs. */
export type Answering = (response: ServerResponse, message: Received) => void;

export const OK: Answering = (response) => void response.writeHead(204).end();

/** Listens on a port of its own, or on that one. */
export async function receiver(port = 0) {
  const came: Received[] = [];
  let answering: Answering = OK;
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const message = {
        id: String(request.headers['webhook-id']),
        body: Buffer.concat(chunks).toString(),
        headers: request.headers,
      };
      came.push(message);
      answering(response, message);
    });
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  const close = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  onTestFinished(close);
  const { port: listening } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${listening}/hook`,
    port: listening,
    /** All attempts that came, in order. */
    came,
    /** What came, each message once. */
    once: () => [...new Map(came.map((message) => [message.id, message])).values()],
    answer(next: Answering) {
      answering = next;
    },
    close,
  };
}

/** Throws unless the message is signed with the secret. */
export function assertSigned({ body, headers }: Received, secret: string): void {
  new Webhook(secret).verify(body, headers as Record<string, string>);
}
