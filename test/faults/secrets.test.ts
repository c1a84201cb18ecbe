import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { WebSocket } from 'ws';

import { receiver } from '../world/receiver.ts';
import { type Answer, bearer, post, type World, world } from '../world/server.ts';
import { dumped } from '../world/dump.ts';
import { until } from '../world/wait.ts';

test('a secret is in no table, no line of the log, no error, no frame, no file and no webhook; the mail holds its link alone', async () => {
  const here = await world();
  const canary = (kind: string) => `canary-${kind}-${randomUUID()}`;
  const [password, wrong, next, last, madeUp] = ['old', 'wrong', 'next', 'last', 'made-up'].map(canary) as [
    string,
    string,
    string,
    string,
    string,
  ];
  const subdomain = `t-${randomUUID().slice(0, 8)}`;
  const email = `canary@${subdomain}.example`;
  const refused: Answer[] = [];
  const pair = 'accessToken refreshToken user { id }';
  const { anybody } = here;

  const person = { tenantName: 'Acme', subdomain, email, fullName: 'Finch' };
  const { data: registered } = await anybody.do('register', { ...person, password }, pair);
  const signedIn = { authorization: `Bearer ${registered.accessToken as string}` };
  refused.push(await anybody.do('register', { ...person, password }, pair));
  refused.push(await here.signIn(email, wrong));
  const { data: refreshed } = await anybody.do(
    'refreshToken',
    { refreshToken: registered.refreshToken },
    pair,
  );
  const change = (currentPassword: string, newPassword: string) =>
    post(
      here.url,
      {
        query: 'mutation ($input: ChangePasswordInput!) { changePassword(input: $input) { user { id } } }',
        variables: { input: { currentPassword, newPassword } },
      },
      signedIn,
    );
  refused.push(await change(wrong, next), await change(password, `${next}${'x'.repeat(200)}`));
  expect((await change(password, next)).errors).toEqual([]);
  await anybody.do('forgotPassword', { email }, 'accepted');
  const link = await resetLink(here, email);
  const token = /token=([\w-]+)/.exec(link)![1]!;
  refused.push(await anybody.do('resetPassword', { token: madeUp, newPassword: last }, 'success'));
  expect((await anybody.do('resetPassword', { token, newPassword: last }, 'success')).errors).toEqual([]);
  refused.push(await anybody.do('resetPassword', { token, newPassword: last }, 'success'));
  refused.push(await anybody.do('refreshToken', { refreshToken: refreshed.refreshToken }, pair));
  refused.push(await anybody.ask('{ me { id } }', {}, signedIn));
  // Not a value of the right kind, a variable that is not there, a document that does not parse.
  refused.push(
    await post(here.url, { query: LOGIN, variables: { input: { email, password: [madeUp] } } }, signedIn),
  );
  refused.push(
    await post(here.url, { query: LOGIN, variables: { input: { password: madeUp, more: madeUp } } }),
  );
  refused.push(
    await post(here.url, { query: LOGIN, variables: { input: { email, password: `${wrong}\0` } } }),
  );
  const frames = await framesOf(here, signedIn.authorization, email, wrong);

  const machines = await machinesOf(here, email, last);

  const secrets = {
    ...machines.secrets,
    password,
    wrong,
    next,
    last,
    token,
    access: registered.accessToken as string,
    refresh: registered.refreshToken as string,
    access2: refreshed.accessToken as string,
    refresh2: refreshed.refreshToken as string,
  };
  const held = (text: string, among: Record<string, string>) =>
    Object.keys(among).filter((name) => text.includes(among[name]!));
  expect(held(await dumped(here), { ...secrets, madeUp })).toEqual([]);
  expect(held(JSON.stringify(here.log), { ...secrets, madeUp })).toEqual([]);
  expect(held(frames, secrets)).toEqual([]);
  expect(held(machines.delivered, secrets)).toEqual([]);
  expect(machines.files.length).toBe(3);
  for (const file of machines.files) expect(held(file, { ...secrets, madeUp })).toEqual([]);
  expect(refused.filter(({ errors }) => errors.length === 0)).toEqual([]);
  expect(held(JSON.stringify(refused), secrets)).toEqual([]);
  expect(held(mailsOf(here).join('\n'), secrets)).toEqual(['token']);
});

const LOGIN = 'mutation ($input: LoginInput!) { login(input: $input) { expiresAt } }';

/** A key and a webhook, used as they should be and not; what is delivered, and the log in every kind of file. */
async function machinesOf(here: World, email: string, password: string) {
  const { data } = await here.anybody.do('login', { email, password }, 'accessToken refreshToken');
  const headers = bearer(data.accessToken as string);
  const ask = async (query: string, as = headers) => await post(here.url, { query }, as);
  const there = await receiver();
  const hook = await ask(
    `mutation { createWebhook(input: { url: "${there.url}" }) { webhook { id } secret } }`,
  );
  const made = await ask(
    'mutation { createApiKey(input: { name: "Key", scopes: [AUDIT_READ] }) { apiKey { id } key } }',
  );
  const key = made.data.createApiKey.key as string;
  expect((await ask('{ auditLogs { totalCount } }', bearer(key))).errors).toEqual([]);
  expect((await ask('{ users { totalCount } }', bearer(key))).errors).toHaveLength(1);
  await ask(
    `mutation { testWebhook(input: { id: "${hook.data.createWebhook.webhook.id as string}" }) { webhook { id } } }`,
  );
  await ask(
    `mutation { revokeApiKey(input: { id: "${made.data.createApiKey.apiKey.id as string}" }) { apiKey { id } } }`,
  );
  expect((await ask('{ auditLogs { totalCount } }', bearer(key))).errors).toHaveLength(1);
  await ask(
    `mutation { replayWebhook(input: { id: "${hook.data.createWebhook.webhook.id as string}", fromPosition: 0 }) { webhook { id } } }`,
  );
  await until('the revocation was delivered', () =>
    there.came.some(({ body }) => body.includes('api_key.revoked')),
  );
  const files = [];
  for (const format of ['CSV', 'NDJSON', 'PARQUET']) {
    const order = await ask(
      `mutation { createAuditExport(input: { format: ${format} }) { auditExport { id } } }`,
    );
    const id = order.data.createAuditExport.auditExport.id as string;
    let url: string | null = null;
    await until('the file is there', async () => {
      url = (await ask(`{ auditExport(id: "${id}") { downloadUrl } }`)).data.auditExport.downloadUrl as
        | string
        | null;
      return url !== null;
    });
    const { pathname, search } = new URL(url!);
    files.push(
      Buffer.from(await (await fetch(new URL(pathname + search, here.url))).arrayBuffer()).toString('latin1'),
    );
  }
  return {
    secrets: {
      key,
      webhook: hook.data.createWebhook.secret as string,
      access3: data.accessToken as string,
      refresh3: data.refreshToken as string,
    },
    delivered: JSON.stringify(there.came),
    files,
  };
}

/** What comes back over a WebSocket for a failed login and a refused connection. */
async function framesOf(
  { url }: World,
  authorization: string,
  email: string,
  password: string,
): Promise<string> {
  const frames: string[] = [];
  for (const payload of [{}, { authorization }]) {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
    socket.on('message', (data: Buffer) => frames.push(data.toString()));
    await once(socket, 'open');
    socket.send(JSON.stringify({ type: 'connection_init', payload }));
    if ('authorization' in payload) {
      const [code, reason] = (await once(socket, 'close')) as [number, Buffer];
      frames.push(`${code} ${reason.toString()}`);
      continue;
    }
    await once(socket, 'message');
    const operation = { query: LOGIN, variables: { input: { email, password } } };
    socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: operation }));
    await until('it was answered', () => frames.some((frame) => frame.includes('"complete"')));
    socket.terminate();
  }
  expect(frames.join()).toContain('INVALID_CREDENTIALS');
  return frames.join('\n');
}

function mailsOf({ dataDir }: World): string[] {
  const folder = path.join(dataDir, 'mail');
  return readdirSync(folder)
    .filter((file) => file.endsWith('.eml'))
    .map((file) =>
      readFileSync(path.join(folder, file), 'utf8').replaceAll('=\r\n', '').replaceAll('=3D', '='),
    );
}

async function resetLink(here: World, to: string): Promise<string> {
  const links = () =>
    mailsOf(here)
      .filter((mail) => mail.includes(`To: ${to}`))
      .flatMap((mail) => /\S+reset-password\?token=[\w-]+/.exec(mail) ?? []);
  await until('the link is mailed', () => links().length > 0);
  return links()[0]!;
}
