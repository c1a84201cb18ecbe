import { DrizzleQueryError } from 'drizzle-orm';

/** What became of a transaction that did not end by COMMIT or by its own error. */
const LOSSES = {
  POOL_TIMEOUT: 'No database connection became free in time; nothing was begun.',
  TX_LOST: 'The connection to the database was lost; nothing was committed.',
  TX_DEADLINE: 'The transaction ran past its deadline and was cut off; nothing was committed.',
  COMMIT_UNKNOWN: 'The answer to COMMIT was lost: whether the transaction committed is not known.',
  TX_FINISHED: 'The transaction is over: its handle serves only until its callback ends.',
  DB_STOPPED: 'The database has been closed by this process; nothing was begun.',
} as const;

/** Stable: `COMMIT_UNKNOWN` is the only one after which something may have been committed. */
export type LossCode = keyof typeof LOSSES;

/** The transaction was cut off from outside: the connection, the deadline, the pool. `code` says what that means. */
export class TransactionLost extends Error {
  readonly code: LossCode;
  readonly why: string | undefined;

  constructor(code: LossCode, why?: string) {
    super(why === undefined ? LOSSES[code] : `${LOSSES[code]} (${why})`);
    this.name = 'TransactionLost';
    this.code = code;
    this.why = why;
  }
}

/** What Postgres says of an error, as far as it may be shown and logged. */
interface ServerFacts {
  /** Five characters, such as 23505: https://www.postgresql.org/docs/current/errcodes-appendix.html */
  readonly sqlstate: string;
  readonly constraint: string | undefined;
  readonly table: string | undefined;
  readonly message: string;
}

/**
 * Postgres refused a statement. Holds no value that was sent to it: no parameters, no detail (`Key (email)=(…)`), and
 * no message that names one. `statement` is the text with `$1`.
 */
export class DatabaseError extends Error {
  readonly sqlstate: string;
  readonly constraint: string | undefined;
  readonly table: string | undefined;
  readonly statement: string;

  constructor({ sqlstate, constraint, table, message }: ServerFacts, statement: string) {
    super(`${sqlstate}: ${message}`);
    this.name = 'DatabaseError';
    this.sqlstate = sqlstate;
    this.constraint = constraint;
    this.table = table;
    this.statement = statement;
  }
}

/** What Postgres said, when it is the reason for this error, also under the errors of Drizzle; never parameters or detail. */
export function postgresErrorOf(
  error: unknown,
): Pick<DatabaseError, 'sqlstate' | 'constraint' | 'table'> | undefined {
  const found = chainOf(error).find((each) => each instanceof DatabaseError);
  return found && { sqlstate: found.sqlstate, constraint: found.constraint, table: found.table };
}

/** Whether Postgres refused text because of a NUL in it: no text it holds has one, so this is the sender's affair. */
export function isUnstorableText(error: unknown): boolean {
  return postgresErrorOf(error)?.sqlstate === '22021';
}

/**
 * The same error without Drizzle's wrapping, whose message lists all parameters: a wrapped error is taken out, and
 * where one is the cause of another error, that cause is replaced. Everything else stays the object it is.
 */
export function withoutParameters(error: unknown): unknown {
  if (error instanceof DrizzleQueryError) {
    return withoutParameters(error.cause) ?? new Error('A query failed without a reason.');
  }
  for (const each of chainOf(error)) {
    if (each.cause instanceof DrizzleQueryError) each.cause = withoutParameters(each.cause);
  }
  return error;
}

function chainOf(error: unknown): Error[] {
  const chain: Error[] = [];
  for (let each = error; each instanceof Error && !chain.includes(each); each = each.cause) chain.push(each);
  return chain;
}

/**
 * A server's message without the value a data exception (class 22) ends in: `invalid input syntax for type uuid: "…"`.
 * The quotes depend on the server's language, so everything from the first sign of a value is cut.
 */
export function withoutValue({ code, message }: { readonly code: string; readonly message: string }): string {
  return code.startsWith('22') ? `${/^[^"'„“«‹:\d]*/.exec(message)![0].trim()} …` : message;
}
