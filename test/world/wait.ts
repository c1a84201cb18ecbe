import { setTimeout as pause } from 'node:timers/promises';

const POLL_MS = 10;

/** Resolves when the condition holds; throws after `ms` (default 5000), naming what was waited for. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  ms = 5_000,
): Promise<void> {
  const deadline = performance.now() + ms;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`Waited ${ms} ms in vain until ${what}.`);
    await pause(POLL_MS);
  }
}

/** A promise and the way to settle it: holds one side of a race open. */
export function gate<T = void>(): { readonly passed: Promise<T>; readonly open: (value: T) => void } {
  let open!: (value: T) => void;
  const passed = new Promise<T>((resolve) => (open = resolve));
  return { passed, open };
}
