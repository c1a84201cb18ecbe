interface Request<T> {
  readonly resolve: (result: IteratorResult<T, undefined>) => void;
  readonly reject: (reason: unknown) => void;
}

const DONE = { done: true, value: undefined } as const;

/**
 * An iterator over what `produce` gives, which is called when somebody waits for a value, once at a time. Unlike a generator
 * it ends while it is waiting: `return()` settles every pending `next()` at once (graphql-ws never gets a blocked
 * generator to return). `ended` is called once, also when `produce` rejects, which the pending `next()` does with it.
 */
export function pulled<T>(produce: () => Promise<T>, ended: () => void): AsyncIterableIterator<T, undefined> {
  const requests: Request<T>[] = [];
  let over = false;
  let producing = false;
  const iterator: AsyncIterableIterator<T, undefined> = {
    [Symbol.asyncIterator]: () => iterator,
    next() {
      if (over) return Promise.resolve(DONE);
      return new Promise((resolve, reject) => {
        requests.push({ resolve, reject });
        if (!producing) void serve();
      });
    },
    async return() {
      end();
      return DONE;
    },
    async throw(reason) {
      end();
      throw reason;
    },
  };
  return iterator;

  async function serve() {
    producing = true;
    while (requests.length > 0) {
      try {
        const value = await produce();
        requests.shift()?.resolve({ done: false, value });
      } catch (error) {
        requests.shift()?.reject(error);
        end();
      }
    }
    producing = false;
  }

  function end() {
    if (over) return;
    over = true;
    for (const { resolve } of requests.splice(0)) resolve(DONE);
    ended();
  }
}
