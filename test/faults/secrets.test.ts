import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { WebSocket } from 'ws';

import { type Answer, post, type World, world } from '../world/server.ts';
import { dumped } from '../world/dump.ts';
import { until } from '../world/wait.ts';

test('a secret is in no table, no line of the log, no error and no frame; the mail holds its link alone', async () => {
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
  const bearer = { authorization: `Bearer ${registered.accessToken as string}` };
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
      bearer,
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
  refused.push(await anybody.ask('{ me { id } }', {}, bearer));
  // Not a value of the right kind, a variable that is not there, a document that does not parse.
  refused.push(
    await post(here.url, { query: LOGIN, variables: { input: { email, password: [madeUp] } } }, bearer),
  );
  refused.push(
    await post(here.url, { query: LOGIN, variables: { input: { password: madeUp, more: madeUp } } }),
  );
  refused.push(
    await post(here.url, { query: LOGIN, variables: { input: { email, password: `${wrong}\0` } } }),
  );
  const frames = await framesOf(here, bearer.authorization, email, wrong);

  const secrets = {
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
  expect(refused.filter(({ errors }) => errors.length === 0)).toEqual([]);
  expect(held(JSON.stringify(refused), secrets)).toEqual([]);
  expect(held(mailsOf(here).join('\n'), secrets)).toEqual(['token']);
});

const LOGIN = 'mutation ($input: LoginInput!) { login(input: $input) { expiresAt } }';

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
