/** `custos tail`, the built program, in a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { onTestFinished } from 'vitest';

export const PROGRAM = path.resolve(import.meta.dirname, '../../dist/cli.js');

/** A line of NDJSON. */
export interface Printed {
  readonly cursor: string;
  readonly record: Readonly<
    Record<'action' | 'category' | 'status' | 'severity' | 'resource' | 'requestId', string>
  > & {
    readonly position: number;
    readonly actor: { readonly id: string | null };
    readonly resourceId: string | null;
    readonly ipAddress: string | null;
    readonly userAgent: string | null;
  };
}

export interface Tail {
  readonly child: ChildProcess;
  readonly out: { stdout: string; stderr: string };
  readonly closed: Promise<[number | null, NodeJS.Signals | null]>;
  ended(): Promise<number | null>;
}

/** `custos tail` with these arguments. */
export function launch(env: Record<string, string>, args: readonly string[], { stdin = '' } = {}): Tail {
  const tail = launched(process.execPath, [PROGRAM, 'tail', ...args], env);
  tail.child.stdin!.on('error', () => {});
  tail.child.stdin!.end(stdin);
  return tail;
}

/** Any program. It is killed when the test ends. */
export function launched(program: string, args: readonly string[], env: Record<string, string>): Tail {
  const { PATH = '', HOME = '' } = process.env;
  const child = spawn(program, args, { cwd: tmpdir(), env: { PATH, HOME, ...env } });
  const out = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => void (out.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => void (out.stderr += text));
  const closed = once(child, 'close') as Tail['closed'];
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await closed;
  });
  return { child, out, closed, ended: async () => (await closed)[0] };
}

/** Whole lines: the last may be half, where its process was killed. */
export function recordsIn(stdout: string): Printed[] {
  return stdout
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Printed);
}
