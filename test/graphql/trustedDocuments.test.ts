import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { expect, onTestFinished, test } from 'vitest';

import { SettingsError } from '../../src/platform/settings.ts';
import { PASSWORD, world } from '../world/server.ts';
import { socketClient } from '../world/socket.ts';

const LOGIN = 'mutation Login($input: LoginInput!) { login(input: $input) { accessToken } }';
const NAME = 'query Name { __typename }';
const OTHER = 'query Other { __typename }';
const idOf = (text: string) => createHash('sha256').update(text).digest('hex');
const TRUSTED = { [idOf(LOGIN)]: LOGIN, [idOf(NAME)]: NAME };

test('with a manifest its documents are carried out, by text and by id, and no others', async () => {
  const { url, database } = await world({ TRUSTED_DOCUMENTS: await manifest(TRUSTED) });
  const ask = async (request: object) => {
    const response = await fetch(`${url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(request),
    });
    return { status: response.status, body: (await response.json()) as Body };
  };
  const byGet = async (parameters: Record<string, string>) => {
    const response = await fetch(`${url}/graphql?${String(new URLSearchParams(parameters))}`);
    return { status: response.status, body: (await response.json()) as Body };
  };
  const apollo = { persistedQuery: { version: 1, sha256Hash: idOf(NAME) } };

  for (const answer of [
    await ask({ query: NAME }),
    await ask({ documentId: idOf(NAME) }),
    await ask({ extensions: apollo }),
    await ask({ query: NAME, extensions: apollo }),
    await byGet({ query: NAME }),
    await byGet({ documentId: idOf(NAME) }),
    await byGet({ extensions: JSON.stringify(apollo) }),
  ])
    expect(answer).toMatchObject({ status: 200, body: { data: { __typename: 'Query' } } });

  const input = { email: 'root@custos.example', password: PASSWORD };
  const signedIn = await ask({ documentId: idOf(LOGIN), operationName: 'Login', variables: { input } });
  expect(signedIn.body.data).toMatchObject({ login: { accessToken: expect.any(String) } });
  const records = async () =>
    (await database.admin`select count(*)::int as n from audit_logs`)[0]!['n'] as number;
  const before = await records();

  for (const [answer, fault] of [
    [await ask({ query: OTHER }), 'not among those that this server trusts'],
    [await ask({ query: `${LOGIN} `, variables: { input } }), 'not among those that this server trusts'],
    [
      await ask({ query: OTHER, extensions: { persistedQuery: { version: 1, sha256Hash: idOf(OTHER) } } }),
      idOf(OTHER),
    ],
    [await ask({ documentId: '../x' }), '"../x"'],
    [await ask({}), 'not among those that this server trusts'],
    [await ask([{ query: NAME }]), 'not among those that this server trusts'],
    [await byGet({ query: OTHER }), 'not among those that this server trusts'],
    [await byGet({ extensions: '{' }), 'not among those that this server trusts'],
  ] as const) {
    expect(answer).toMatchObject({
      status: 400,
      body: { errors: [{ extensions: { code: 'BAD_USER_INPUT' } }] },
    });
    expect(answer.body.errors![0]!.message).toContain(fault);
    expect(answer.body.errors![0]!.message).toContain('TRUSTED_DOCUMENTS');
  }
  expect(await records()).toBe(before);
});

test('so they are over a WebSocket', async () => {
  const { url } = await world({ TRUSTED_DOCUMENTS: await manifest(TRUSTED) });
  const client = socketClient(url, undefined);
  onTestFinished(() => client.dispose());
  const first = async (request: { query: string; extensions?: Record<string, unknown> }) => {
    for await (const answer of client.iterate(request)) return answer;
    return undefined;
  };
  expect(await first({ query: NAME })).toMatchObject({ data: { __typename: 'Query' } });
  const extensions = { persistedQuery: { version: 1, sha256Hash: idOf(NAME) } };
  expect(await first({ query: '', extensions })).toMatchObject({ data: { __typename: 'Query' } });
  await expect(first({ query: OTHER })).rejects.toMatchObject([
    { message: expect.stringContaining('trusts'), extensions: { code: 'BAD_USER_INPUT' } },
  ]);
});

test('the manifest may be Apollo’s, and one that is none starts no server', async () => {
  const operations = [{ id: 'one', name: 'Name', type: 'query', body: NAME }];
  const file = await manifest({ format: 'apollo-persisted-query-manifest', version: 1, operations });
  const { url } = await world({ TRUSTED_DOCUMENTS: file });
  const response = await fetch(`${url}/graphql?documentId=one`);
  expect(await response.json()).toMatchObject({ data: { __typename: 'Query' } });

  for (const wrong of [await manifest(['x']), await manifest({ id: 1 }), '/nowhere.json']) {
    const start = world({ TRUSTED_DOCUMENTS: wrong });
    await expect(start).rejects.toThrow(SettingsError);
    await expect(start).rejects.toThrow(
      `TRUSTED_DOCUMENTS must be the path of a manifest of documents by id, as JSON: ${wrong}`,
    );
  }
});

interface Body {
  readonly data?: unknown;
  readonly errors?: readonly { readonly message: string }[];
}

async function manifest(content: unknown): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'custos-documents-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const file = path.join(folder, 'manifest.json');
  await writeFile(file, JSON.stringify(content));
  return file;
}
