import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { openMailer, type Mailer } from '../../src/platform/mail.ts';
import { openSmtpSink } from '../world/smtp.ts';

const mail = {
  to: 'ada@example.com',
  subject: 'Reset your password',
  text: 'Use this link:\n\nhttps://x/?t=1\n',
};
const from = 'Custos <no-reply@custos.example>';
const silent = { info: () => {} };

let dataDir: string;
const undo: (() => Promise<unknown>)[] = [];

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'custos-mail-'));
  undo.push(() => rm(dataDir, { recursive: true }));
});
afterEach(async () => {
  for (const step of undo.splice(0).toReversed()) await step();
});

function open(smtpUrl?: string, log = silent): Mailer {
  const mailer = openMailer({ smtpUrl, from, dataDir, log });
  undo.push(() => mailer.stop());
  return mailer;
}

async function openSink() {
  const sink = await openSmtpSink();
  undo.push(() => sink.stop());
  return sink;
}

/** The mail files, oldest first as their names sort. */
async function files(): Promise<{ name: string; source: string }[]> {
  const names = (await readdir(join(dataDir, 'mail'))).toSorted();
  const sources = names.map(async (name) => ({
    name,
    source: await readFile(join(dataDir, 'mail', name), 'utf8'),
  }));
  return await Promise.all(sources);
}

/** Header lines of a mail, unfolded. */
function headersOf(source: string): string[] {
  const head = source.split(/\r?\n\r?\n/)[0] ?? '';
  return head.replaceAll(/\r?\n[ \t]+/g, ' ').split(/\r?\n/);
}

test('without a mail server a mail is a private file', async () => {
  const logged: unknown[] = [];
  await open(undefined, { info: (...line: unknown[]) => void logged.push(line) }).send(mail);

  const [file, ...others] = await files();
  expect(others).toEqual([]);
  expect(file!.name).toMatch(/^\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{8}\.eml$/);
  expect(headersOf(file!.source)).toEqual(
    expect.arrayContaining([
      'From: Custos <no-reply@custos.example>',
      'To: ada@example.com',
      'Subject: Reset your password',
      'Auto-Submitted: auto-generated',
    ]),
  );
  expect(file!.source).toContain('https://x/?t=1');
  const path = join(dataDir, 'mail', file!.name);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect((await stat(join(dataDir, 'mail'))).mode & 0o777).toBe(0o700);
  // The log says where, not to whom and what: a reset link in a log is a way in.
  expect(logged).toEqual([[{ file: path }, 'mail written']]);
});

test('mail files sort in the order they were sent, also within a millisecond', async () => {
  const mailer = open();
  for (let i = 0; i < 20; i++) await mailer.send({ ...mail, subject: `number ${i}` });
  const subjects = (await files()).map(({ source }) => /Subject: (.*)/.exec(source)?.[1]);
  expect(subjects).toEqual(Array.from({ length: 20 }, (_, i) => `number ${i}`));
});

test('a mail server gets the mail, and one connection serves many', async () => {
  const sink = await openSink();
  const mailer = open(sink.url);
  for (let i = 0; i < 5; i++) await mailer.send({ ...mail, subject: `number ${i}`, text: '.\n..two\nlast' });

  expect(sink.connections).toBe(1);
  expect(sink.mails.map(({ from, to }) => [from, to])).toEqual(
    Array.from({ length: 5 }, () => ['no-reply@custos.example', ['ada@example.com']]),
  );
  expect(headersOf(sink.mails[4]!.source)).toContain('Subject: number 4');
  expect(sink.mails[0]!.source).toMatch(/\n\n\.\n\.\.two\nlast\n*$/);
  await expect(readdir(join(dataDir, 'mail'))).rejects.toThrow('ENOENT');
});

test('text beyond ASCII arrives', async () => {
  const sink = await openSink();
  await open(sink.url).send({ to: 'zoë@example.com', subject: 'Grüße 🔑', text: 'Schöne Grüße 🔑' });
  const source = sink.mails[0]!.source;
  expect(source).toMatch(/^Subject: =\?UTF-8\?/m);
  expect(sink.mails[0]!.to).toEqual(['zoë@example.com']);
});

test.each([
  ['CR LF', 'Hello\r\nBcc: eve@example.com'],
  ['LF', 'Hello\nBcc: eve@example.com'],
  ['CR', 'Hello\rBcc: eve@example.com'],
  ['two of them and a body', 'Hello\r\n\r\nBcc: eve@example.com'],
  ['a folded line', 'Hello\r\n Bcc: eve@example.com'],
  ['U+2028', 'Hello\u2028Bcc: eve@example.com'],
  ['NUL', 'Hello\0Bcc: eve@example.com'],
])('a subject with %s stays one header and brings no recipient', async (_, subject) => {
  const sink = await openSink();
  await open(sink.url).send({ ...mail, subject });
  await open().send({ ...mail, subject });

  expect(sink.mails[0]!.to).toEqual(['ada@example.com']);
  for (const source of [sink.mails[0]!.source, (await files())[0]!.source]) {
    const headers = headersOf(source);
    expect(headers.filter((header) => header.startsWith('Subject:'))).toEqual([
      'Subject: Hello Bcc: eve@example.com',
    ]);
    expect(headers.filter((header) => /^bcc/i.test(header))).toEqual([]);
  }
});

test.each([
  'ada@example.com\r\nBcc: eve@example.com',
  'ada@example.com\nRCPT TO:<eve@example.com>',
  'ada@example.com\r',
  'ada@example.com, eve@example.com',
  'ada@example.com;eve@example.com',
  'ada@example.com eve@example.com',
  'Ada <ada@example.com>',
  '<ada@example.com>',
  'group: eve@example.com;',
  '"eve@example.com" ada@example.com',
  'ada@example.com(comment)',
  'ada@eve@example.com',
  'ada@example.com\0',
  'ada@example\u2028.com',
  'ada',
  '@example.com',
  'ada@',
  '',
  `${'a'.repeat(320)}@example.com`,
])('a mail to %j is refused before anything is sent', async (to) => {
  const sink = await openSink();
  const sending = open(sink.url).send({ ...mail, to });
  await expect(sending).rejects.toThrow('one address such as name@example.com');
  await expect(open().send({ ...mail, to })).rejects.toThrow(RangeError);
  expect(sink.connections).toBe(0);
  await expect(readdir(join(dataDir, 'mail'))).rejects.toThrow('ENOENT');
});

test('the text of a mail cannot end it early or start another', async () => {
  const sink = await openSink();
  const text = 'first\r\n.\r\nMAIL FROM:<eve@example.com>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\nsecond';
  await open(sink.url).send({ ...mail, text });
  expect(sink.mails).toHaveLength(1);
  expect(sink.mails[0]!.source).toContain('\n.\nMAIL FROM:<eve@example.com>\n');
});

test('a mail that the server does not take is an error, and the next one goes out', async () => {
  const sink = await openSink();
  const mailer = open(sink.url);
  sink.refuseRecipients('550 no such user');
  await expect(mailer.send(mail)).rejects.toThrow('550');
  sink.refuseRecipients('250 OK');
  await mailer.send(mail);
  expect(sink.mails).toHaveLength(1);
});

test('no mail server is an error, and no wait without end', async () => {
  const placeholder = createServer();
  await once(placeholder.listen(0, '127.0.0.1'), 'listening');
  const address = placeholder.address();
  if (address === null || typeof address === 'string') throw new Error('The server has no port.');
  await new Promise((resolve) => placeholder.close(resolve));
  await expect(open(`smtp://127.0.0.1:${address.port}`).send(mail)).rejects.toThrow('ECONNREFUSED');
});

test('stopping lets what is underway finish and refuses the rest', async () => {
  const sink = await openSink();
  const mailer = open(sink.url);
  const underway = Array.from({ length: 10 }, () => mailer.send(mail));
  await mailer.stop();
  await Promise.all(underway);
  expect(sink.mails).toHaveLength(10);
  await expect(mailer.send(mail)).rejects.toThrow('stopped');
  await mailer.stop();
});
