/**
 * Connections to Postgres that are safe to build transactions on, over the unmodified postgres.js 3.4.9.
 *
 * As shipped its pool loses acknowledged writes after a stall, lets a handle outlive its backend and go on in another
 * one, writes to sockets that are gone (an uncaught TypeError) and leaves queries pending for ever. All of these come from
 * connections that are shared or come back to life. So here a connection is one client with one socket, for one backend,
 * once: its socket factory refuses a second socket, the pool is ours, and whatever is not an answer of the server ends it.
 * Nothing waits inside the driver, and no statement can reach a backend other than its own.
 */
import { connect as openSocket, type Socket } from 'node:net';
import postgres from 'postgres';

import { DatabaseError, TransactionLost, withoutValue } from './databaseErrors.ts';
import { systemCode } from './systemError.ts';

/** Rows, and the command tag of the statement that gave them. */
export type Rows = readonly Record<string, unknown>[] & { readonly command: string };

/** An answer that is on its way. `values()`, called at once, makes its rows arrays instead of objects. */
export type Answer = Promise<Rows> & { values(): Promise<Rows> };

/** One backend, and the only way to it. Statements are answered in the order they were sent. */
export interface Connection {
  readonly alive: boolean;
  /** Set by whoever uses the connection: called once when it dies. */
  onDeath: ((why: string) => void) | undefined;
  /**
   * Sends one statement: with parameters as a named prepared one, else as an unnamed one, so that a text never holds two.
   * Rejects with a DatabaseError when Postgres refuses it, and with TX_LOST when the connection ends. A connection that
   * goes silent leaves it pending: race it against a deadline and `destroy`.
   */
  query(text: string, parameters?: readonly unknown[]): Answer;
  /** Sends a fixed text of one or more statements, each answered: what opens and ends a transaction. */
  script(text: string): Promise<readonly Rows[]>;
  /** Cuts the connection at once. What is pending rejects. */
  destroy(): void;
  /** Says goodbye to the server and resolves when the socket is closed; cuts it after half a second. */
  end(): Promise<void>;
}

export interface ConnectionOptions {
  readonly url: string;
  /** Settings of the session, sent with the start-up message. */
  readonly session: Readonly<Record<string, string>>;
  /** How long opening may take, the first answer included. */
  readonly connectMs: number;
  /** Called once when the connection has died, whoever ended it. */
  readonly onClosed?: (connection: Connection) => void;
  readonly onNotify?: (channel: string, payload: string) => void;
  /** With several hosts in the URL: which one is tried, counted round. */
  readonly attempt?: number;
}

const END_MS = 500;
const KEEP_ALIVE_MS = 30_000;
/** date, timestamp, timestamptz: the driver would make Dates, which hold no microseconds. */
const KEPT_AS_TEXT = [1082, 1114, 1184];
const [OID_BOOL, OID_BYTEA, OID_INT8] = [16, 17, 20];
/** The protocol counts parameters in 16 bits. */
const PARAMETERS_MAX = 65_533;
type Encoded = string | null | ReturnType<postgres.Sql['typed']>;

/** Opens a connection. Rejects with a DatabaseError when the server refuses it, otherwise with TX_LOST. */
export async function openConnection(options: ConnectionOptions): Promise<Connection> {
  const { url, session, connectMs, onClosed, onNotify, attempt = 0 } = options;
  let socket: Socket | undefined;
  let alive = true;
  let welcome = false;
  let whyDestroyed: string | undefined;
  let closed!: () => void;
  const closing = new Promise<void>((resolve) => (closed = resolve));

  const die = () => {
    if (!alive) return;
    alive = false;
    connection.onDeath?.(whyDestroyed ?? 'it was closed');
    onClosed?.(connection);
    closed();
  };

  // `socket` and a number as `backoff` are known to the driver, not to its types.
  const driverOptions: postgres.Options<Record<string, never>> & Record<string, unknown> = {
    max: 1,
    max_pipeline: 1e9,
    max_lifetime: null,
    idle_timeout: 0,
    connect_timeout: 0,
    // It asks for the array types in a promise nobody catches.
    fetch_types: false,
    connection: session,
    onnotice: () => {},
    ...(onNotify ? { onnotify: onNotify } : {}),
    onclose: die,
    backoff: () => 0,
    socket({ host, port, path }: { host: string[]; port: number[]; path: string | false }) {
      // Reconnecting is how a handle of one backend ends up in the transaction of another.
      if (socket || !alive) {
        die();
        throw new Error('A connection has one socket.');
      }
      const at = attempt % host.length;
      const address = path ? { path } : { host: host[at]!, port: port[at]! };
      socket = openSocket({
        ...address,
        noDelay: true,
        keepAlive: true,
        keepAliveInitialDelay: KEEP_ALIVE_MS,
      });
      // The driver reads the host from here to check the certificate, where TLS is asked for.
      return Object.assign(socket, address);
    },
  };
  const client = postgres(url, driverOptions);
  client.options.serializers = {};
  for (const oid of KEPT_AS_TEXT) delete client.options.parsers[oid];

  const connection: Connection = {
    get alive() {
      return alive;
    },
    onDeath: undefined,
    query(text, parameters = []) {
      const encoded = encode(client, parameters);
      const query = client.unsafe(text, encoded, { prepare: encoded.length > 0, ...EXTENDED });
      const answer = query.then(rowsOf, refuse(text));
      return Object.assign(answer, {
        values() {
          // The driver sends in a later microtask, and reads this when rows arrive.
          void query.values();
          return answer;
        },
      });
    },
    script(text) {
      return client
        .unsafe(text)
        .then(
          (answers) => ('command' in answers ? [rowsOf(answers)] : Array.from(answers, rowsOf)),
          refuse(text),
        );
    },
    destroy,
    async end() {
      const timer = setTimeout(destroy, END_MS, 'it did not say goodbye');
      void client.end({ timeout: END_MS / 1000 }).catch(() => destroy());
      await closing;
      clearTimeout(timer);
    },
  };

  const timer = setTimeout(destroy, connectMs, `it was not open within ${connectMs} ms`);
  try {
    await connection.query('select 1');
    welcome = true;
    return connection;
  } catch (error) {
    destroy();
    throw error;
  } finally {
    clearTimeout(timer);
  }

  function destroy(why = 'it was cut off') {
    if (!alive) return;
    whyDestroyed ??= why;
    // The socket tells the driver, which tells `die`; without one there is nobody to tell.
    if (socket && !socket.destroyed) socket.destroy();
    die();
  }

  /** Turns what the driver rejects with into our errors, which hold neither parameters nor detail. */
  function refuse(text: string) {
    return (error: unknown): never => {
      const answered = error instanceof postgres.PostgresError ? error : undefined;
      if (answered?.severity === 'ERROR') throw errorOf(answered, withoutValue(answered), text);
      const why = whyDestroyed ?? systemCode(error) ?? 'the driver failed';
      destroy(why);
      // The server will not have us, now or later; there is no value of ours in what it says.
      if (answered && !welcome && /^(28|3D|22|42)/.test(answered.code))
        throw errorOf(answered, answered.message, text);
      throw new TransactionLost('TX_LOST', why);
    };
  }
}

function errorOf(
  { code, constraint_name, table_name }: postgres.PostgresError,
  message: string,
  text: string,
) {
  return new DatabaseError({ sqlstate: code, constraint: constraint_name, table: table_name, message }, text);
}

/** Of a script the driver gives a list of these, of one statement one; its types know only the latter. */
function rowsOf(answer: unknown): Rows {
  // oxlint-disable-next-line no-unsafe-type-assertion -- see above
  return answer as Rows;
}

/** `simple` decides the protocol; the driver's types do not have it. */
const EXTENDED = { simple: false } as object;

/** As text, so that the driver guesses nothing: it would make a boolean of 'true' false and encode '\x…' twice. */
function encode(client: postgres.Sql, parameters: readonly unknown[]): Encoded[] {
  if (parameters.length > PARAMETERS_MAX) {
    throw new RangeError(`A statement takes ${PARAMETERS_MAX} parameters, but got ${parameters.length}.`);
  }
  return parameters.map((value, index) => {
    if (value === null || typeof value === 'string') return value;
    if (typeof value === 'number') return String(value);
    if (typeof value === 'bigint') return client.typed(String(value), OID_INT8);
    if (typeof value === 'boolean') return client.typed(value ? 't' : 'f', OID_BOOL);
    if (value instanceof Uint8Array)
      return client.typed(`\\x${Buffer.from(value).toString('hex')}`, OID_BYTEA);
    throw new TypeError(
      `Parameter $${index + 1} must be a string, number, bigint, boolean, Uint8Array or null, but is ` +
        `${Array.isArray(value) ? 'an array' : typeof value}. Column types convert others.`,
    );
  });
}
