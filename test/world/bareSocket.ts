/** Followers on a bare WebSocket, which may stop reading: graphql-ws would read for them. */
import { onTestFinished } from 'vitest';
import { WebSocket } from 'ws';

import { until } from './wait.ts';

export const FOLLOW = `subscription Follow($after: String) {
  auditLogAppended(after: $after) { cursor node { position createdAt details } } }`;
/** Some hundreds of them are more than the system keeps of a connection. */
export const BULKY = { note: 'x'.repeat(16_000) };

export interface LogStep {
  readonly cursor: string;
  readonly node: { readonly position: number; readonly createdAt: string } | null;
}

/** A follower on a bare socket, which may be paused; it has begun. `delays` are from the record to its arrival, in milliseconds. */
export async function follower(url: string, token: string) {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
  onTestFinished(() => socket.terminate());
  const it = {
    socket,
    steps: [] as LogStep[],
    delays: [] as number[],
    code: undefined as number | undefined,
  };
  socket.once('open', () => {
    socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${token}` } }));
  });
  socket.on('close', (code) => (it.code = code));
  socket.on('message', (data: Buffer) => {
    const { type, payload } = JSON.parse(data.toString()) as {
      readonly type: string;
      readonly payload?: { readonly data: { readonly auditLogAppended: LogStep } };
    };
    if (type === 'connection_ack')
      socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query: FOLLOW } }));
    if (type !== 'next') return;
    const { cursor, node } = payload!.data.auditLogAppended;
    it.steps.push({ cursor, node: node && { position: node.position, createdAt: node.createdAt } });
    if (node) it.delays.push(Date.now() - Date.parse(node.createdAt));
  });
  await until('it follows', () => it.steps.length > 0);
  return it;
}

export function placesOf(steps: readonly LogStep[]): number[] {
  return steps.flatMap(({ node }) => (node ? [node.position] : []));
}
