import { useSyncExternalStore } from 'react';

/** A value that tells when it changes. It is replaced, never mutated. */
export interface Observed<T> {
  readonly get: () => T;
  readonly set: (next: T) => void;
  readonly subscribe: (listener: () => void) => () => void;
}

/** Holds `initial` until something else is set. */
export function observed<T>(initial: T): Observed<T> {
  const listeners = new Set<() => void>();
  let value = initial;
  return {
    get: () => value,
    set: (next) => {
      value = next;
      for (const listener of listeners) listener();
    },
    subscribe: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** The present value, in a component that renders again when it changes. */
export function useObserved<T>(source: Observed<T>): T {
  return useSyncExternalStore(source.subscribe, source.get);
}
