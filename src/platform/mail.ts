import { randomUUID } from 'node:crypto';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createTransport } from 'nodemailer';
import type { Logger } from 'pino';

import { isoOf, openClock } from './ids.ts';

/** How long a mail server may keep silent, in milliseconds. */
const SILENCE_MILLIS_MAX = 10_000;

/** A plain-text mail to one person. */
interface Mail {
  readonly to: string;
  readonly subject: string;
  readonly text: string;
}

/** Sends mail. */
export interface Mailer {
  /** Resolves when the server has taken the mail (or the file is written); rejects if it did not. */
  send(mail: Mail): Promise<void>;
  /** Lets what is being sent finish, refuses the rest, and closes the connections. */
  stop(): Promise<void>;
}

export interface MailerOptions {
  /** `smtp://user:password@host:587` or `smtps://`; without it each mail becomes a file. */
  readonly smtpUrl?: string | undefined;
  readonly from: string;
  /** Mail files go to its folder `mail`. */
  readonly dataDir: string;
  readonly log: Pick<Logger, 'info'>;
}

/**
 * Opens the way out for mail: an SMTP server, or the folder `mail` of the data directory, where each mail is an
 * `.eml` file (mode 0600: it holds a reset link) whose name sorts by time.
 */
export function openMailer({ smtpUrl, from, dataDir, log }: MailerOptions): Mailer {
  const carrier = smtpUrl ? smtpCarrier(smtpUrl) : fileCarrier(join(dataDir, 'mail'), log);
  const underway = new Set<Promise<void>>();
  let stopping = false;
  return {
    async send({ to, subject, text }) {
      if (stopping) throw new Error('The mailer is stopped.');
      const sending = carrier.send({
        from,
        to: oneAddress(to),
        subject: oneLine(subject),
        text,
        // Answering machines stay silent to it (RFC 3834).
        headers: { 'Auto-Submitted': 'auto-generated' },
        disableFileAccess: true,
        disableUrlAccess: true,
      });
      underway.add(sending);
      await sending.finally(() => underway.delete(sending));
    },
    async stop() {
      stopping = true;
      await Promise.allSettled(underway);
      carrier.close();
    },
  };
}

/** What goes out: nodemailer takes care of encodings and folds headers, the checks below of who gets it. */
interface Outgoing extends Omit<Mail, 'to'> {
  readonly from: string;
  readonly to: { readonly name: string; readonly address: string };
  readonly headers: Record<string, string>;
  readonly disableFileAccess: true;
  readonly disableUrlAccess: true;
}

interface Carrier {
  send(mail: Outgoing): Promise<void>;
  close(): void;
}

function smtpCarrier(url: string): Carrier {
  const transport = createTransport({
    url,
    pool: true,
    connectionTimeout: SILENCE_MILLIS_MAX,
    greetingTimeout: SILENCE_MILLIS_MAX,
    socketTimeout: SILENCE_MILLIS_MAX,
  });
  return {
    async send(mail) {
      await transport.sendMail(mail);
    },
    close: () => transport.close(),
  };
}

function fileCarrier(folder: string, log: Pick<Logger, 'info'>): Carrier {
  const transport = createTransport({ streamTransport: true, buffer: true, newline: 'windows' });
  const clock = openClock();
  return {
    async send(mail) {
      const { message } = await transport.sendMail(mail);
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const name = `${isoOf(clock.now()).replaceAll(/[-:]/g, '')}-${randomUUID().slice(0, 8)}`;
      // Renamed when whole: whoever watches the folder never reads half a mail.
      const draft = join(folder, `.${name}.tmp`);
      const file = join(folder, `${name}.eml`);
      await writeFile(draft, message, { mode: 0o600, flag: 'wx' });
      await rename(draft, file);
      log.info({ file }, 'mail written');
    },
    close: () => transport.close(),
  };
}

/**
 * One mailbox and nothing else. A comma would be a second recipient, a line break a second header; the address itself
 * is kept out of the error, which ends in a log.
 */
function oneAddress(to: string): Outgoing['to'] {
  if (to.length > 320 || !/^[^\s\p{C}<>()[\],;:"\\@]+@[^\s\p{C}<>()[\],;:"\\@]+$/u.test(to)) {
    throw new RangeError('A mail goes to one address such as name@example.com.');
  }
  return { name: '', address: to };
}

function oneLine(subject: string): string {
  return subject.replaceAll(/[\s\p{Cc}]+/gu, ' ').trim();
}
