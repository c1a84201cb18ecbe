import { drizzle, type PostgresJsDatabase } from 'drizzle-orm/postgres-js';

import type { Connection } from './connections.ts';
import { DatabaseError, TransactionLost } from './databaseErrors.ts';

/** Drizzle within one transaction. It rejects with TX_FINISHED once that transaction is over. */
export type Tx = Omit<
  PostgresJsDatabase,
  'transaction' | 'query' | '_' | '$cache' | 'refreshMaterializedView'
>;

/** A transaction on a connection that is ours until it ends; then the connection is given back, or is dead. */
export interface Transaction {
  /** The server process that carries it; known once `run` has ended well. */
  readonly pid: number;
  /** Does the work. Rejects with what it threw, and at once when the transaction is lost, whatever the work still does. */
  run<T>(work: (tx: Tx) => Promise<T>): Promise<T>;
  /** False: the answer was lost, so it is unknown. Rejects with what Postgres refused when nothing was committed. */
  commit(): Promise<boolean>;
  /** Resolves when the locks are released or the connection is gone. */
  rollback(): Promise<void>;
  /** Ends a read-only transaction, for good or ill, without waiting: it has nothing left to say. */
  leave(): void;
}

interface TransactionOptions {
  readonly connection: Connection;
  /** `begin …; select …, pg_backend_pid() as pid`. */
  readonly opening: string;
  /** By `performance.now()`. Past it the connection is cut. */
  readonly deadlineAt: number;
  readonly onDeadline: () => void;
  readonly giveBack: () => void;
}

/**
 * Begins a transaction without waiting for the answer: the first statement follows in the same round trip. Should the
 * opening fail, that statement runs outside of any transaction; it cannot write there, because sessions are read-only by
 * default (db.ts), and what it read is thrown away with the connection.
 */
export function beginTransaction({
  connection,
  opening,
  deadlineAt,
  onDeadline,
  giveBack,
}: TransactionOptions): Transaction {
  let open = true;
  let pid = 0;
  let loss: Error | undefined;
  let refusal: DatabaseError | undefined;
  let rejectLost!: (reason: Error) => void;
  const lost = new Promise<never>((_resolve, reject) => (rejectLost = reject));
  lost.catch(() => {});

  const timer = setTimeout(() => {
    lose(new TransactionLost('TX_DEADLINE'));
    connection.destroy();
    onDeadline();
  }, deadlineAt - performance.now());
  connection.onDeath = (why) => lose(new TransactionLost('TX_LOST', why));

  const opened = connection.script(opening).then(
    (answers) => void (pid = Number(answers[1]?.[0]?.pid)),
    (error: Error) => {
      lose(error);
      connection.destroy();
    },
  );

  /** What Drizzle uses of a postgres.js client; it writes its parsers into `options`, ours are set where we connect. */
  const client = {
    options: { parsers: {}, serializers: {} },
    unsafe(text: string, parameters?: readonly unknown[]) {
      if (!open) throw loss ?? new TransactionLost('TX_FINISHED');
      const answer = connection.query(text, parameters);
      answer.catch((error: unknown) => {
        if (error instanceof DatabaseError) refusal ??= error;
      });
      const ours = Promise.race([answer, lost]);
      const values = () => {
        void answer.values();
        return ours;
      };
      return Object.assign(ours, { values });
    },
  };

  return {
    get pid() {
      return pid;
    },
    async run(work) {
      // oxlint-disable-next-line no-unsafe-type-assertion -- `unsafe` and `options` are all that Drizzle touches of a client
      const result = await Promise.race([work(drizzle(client as never)), lost]);
      await Promise.race([opened, lost]);
      return result;
    },
    async commit() {
      open = false;
      try {
        if (loss) throw loss;
        const answers = await Promise.race([connection.script('commit'), lost]).catch(unlessRefused);
        // An error inside was swallowed: Postgres commits nothing of such a transaction, and calls that a success.
        if (answers?.[0]?.command === 'ROLLBACK') throw refusal ?? new DatabaseError(ABORTED, 'commit');
        return answers !== undefined;
      } finally {
        end();
      }
    },
    async rollback() {
      open = false;
      if (!loss) await Promise.race([connection.script('rollback'), lost]).catch(() => connection.destroy());
      end();
    },
    leave() {
      open = false;
      // The next user's statements queue behind this one, and die with it.
      if (!loss) connection.script('commit').catch(() => connection.destroy());
      end();
    },
  };

  function lose(reason: Error) {
    open = false;
    loss ??= reason;
    rejectLost(loss);
  }

  function end() {
    clearTimeout(timer);
    giveBack();
  }
}

const ABORTED = {
  sqlstate: '25P02',
  constraint: undefined,
  table: undefined,
  message: 'the transaction was aborted',
};

/** Postgres has spoken, or nobody knows. */
function unlessRefused(error: unknown): undefined {
  if (error instanceof DatabaseError) throw error;
}
