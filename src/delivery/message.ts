/** One message to one webhook, signed as https://www.standardwebhooks.com has it. */
import { randomBytes } from 'node:crypto';
import { Webhook } from 'standardwebhooks';

import type { Services } from '../audit/act.ts';
import { openBox, sealBox } from '../platform/crypto.ts';
import { idAt, isoOf } from '../platform/ids.ts';
import { type Response, TargetError } from '../platform/targets.ts';
import type { WebhookDeliveryRow, WebhookRow } from './tables.ts';

const SECRET_BYTES = 32;
const SECRET_PREFIX = 'whsec_';

/** What is to be delivered. */
export interface Message {
  /** The same in every attempt: by it a receiver knows what it has already. */
  readonly messageId: string;
  readonly recordId: string | null;
  readonly position: bigint | null;
  readonly attempt: number;
  readonly body: string;
}

/** What became of it. */
export interface Attempt {
  readonly delivery: WebhookDeliveryRow;
  readonly ok: boolean;
  readonly response: Response | undefined;
}

/** A new secret, as the receiver is told it. */
export function newSecret(): string {
  return SECRET_PREFIX + randomBytes(SECRET_BYTES).toString('base64');
}

/** A secret as it is kept. */
export function sealedSecret({ keyFor }: Services, webhookId: string, secret: string): Buffer {
  return sealBox(keyFor(PURPOSE), Buffer.from(secret), Buffer.from(webhookId));
}

const PURPOSE = 'webhook secrets';

/** Sends a message once. Never rejects: what went wrong is what became of it. */
export async function send(
  services: Services,
  { tenantId, id: webhookId, url, format, secret }: WebhookRow,
  { body, ...message }: Message,
): Promise<Attempt> {
  const began = services.clock.now();
  const at = new Date(Number(began / 1000n));
  const key = openBox(services.keyFor(PURPOSE), secret, Buffer.from(webhookId)).toString();
  const headers = {
    'content-type': format === 'CEF' ? 'text/plain; charset=utf-8' : 'application/json',
    'user-agent': 'Custos',
    'webhook-id': message.messageId,
    'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
    'webhook-signature': new Webhook(key).sign(message.messageId, at, body),
  };
  let response: Response | undefined;
  let error: string | null = null;
  try {
    response = await services.targets.post(url, headers, body);
  } catch (cause) {
    error = cause instanceof TargetError ? cause.message : 'the message could not be sent';
    if (!(cause instanceof TargetError)) services.log.error({ err: cause, webhookId }, 'a webhook failed');
  }
  const status = response?.status ?? null;
  return {
    ok: status !== null && status >= 200 && status < 300,
    response,
    delivery: {
      tenantId,
      id: idAt(services.clock.now()),
      webhookId,
      ...message,
      attemptedAt: isoOf(began),
      durationMs: Number((services.clock.now() - began) / 1000n),
      status,
      error,
    },
  };
}
