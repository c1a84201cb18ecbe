/**
 * Column types that give back exactly what was stored. Drizzle's own parse JSON twice, cut timestamps to milliseconds and
 * take 64-bit integers for doubles.
 */
import { type SQL, sql } from 'drizzle-orm';
import { customType } from 'drizzle-orm/pg-core';

const PG_TIMESTAMP = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?\+00$/;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** A JSON value of type T. A string in it stays that string, also one that looks like JSON. */
export function jsonb<T>() {
  return customType<{ data: T; driverData: unknown }>({
    dataType: () => 'jsonb',
    toDriver: (value) => JSON.stringify(value),
    // The driver has parsed it; Drizzle's own type would parse a string among the results again.
    // oxlint-disable-next-line no-unsafe-type-assertion -- what was stored through this column is a T
    fromDriver: (value) => value as T,
  });
}

/** A time as `2026-01-02T03:04:05.123456Z`: always UTC, always six digits. Reading a year beyond 0001 to 9999 is a RangeError. */
export const timestamptz = customType<{ data: string; driverData: string }>({
  dataType: () => 'timestamptz',
  fromDriver(value) {
    const [, date, time, fraction = ''] = PG_TIMESTAMP.exec(value) ?? refuseTimestamp(value);
    return `${date}T${time}.${fraction.padEnd(6, '0')}Z`;
  },
});

/** A 64-bit integer, as a BigInt. */
export const bigint = customType<{ data: bigint; driverData: string }>({
  dataType: () => 'bigint',
  toDriver: String,
  fromDriver: BigInt,
});

/** Bytes, as a Buffer. */
export const bytea = customType<{ data: Buffer; driverData: Buffer }>({ dataType: () => 'bytea' });

/** An IP address as RFC 5952 writes it: without a length, unless it is a network. */
export const inet = customType<{ data: string; driverData: string }>({
  dataType: () => 'inet',
  // Postgres alone writes ::102:304 as ::1.2.3.4, and a record must read as it was written: its hash is of the text.
  fromDriver: (value) =>
    value.replace(
      /^::(\d+)\.(\d+)\.(\d+)\.(\d+)$/,
      (_mixed, ...bytes: string[]) => `::${hexPair(bytes[0]!, bytes[1]!)}:${hexPair(bytes[2]!, bytes[3]!)}`,
    ),
});

function hexPair(high: string, low: string): string {
  return (Number(high) * 256 + Number(low)).toString(16);
}

/** A 64-bit transaction id, in decimal digits. */
export const xid8 = customType<{ data: string; driverData: string }>({ dataType: () => 'xid8' });

/** A snapshot of which transactions are visible, as Postgres writes it: `xmin:xmax:in-progress,…`. */
export const pgSnapshot = customType<{ data: string; driverData: string }>({ dataType: () => 'pg_snapshot' });

/**
 * One parameter that holds many ids: write `= any(${uuidArray(ids)}::uuid[])`. The text of the statement is the same for
 * any number of them, so it is prepared once; `inArray` makes a new statement for every length.
 */
export function uuidArray(ids: readonly string[]): SQL {
  for (const id of ids) {
    if (!UUID.test(id))
      throw new TypeError(`A uuid array takes UUIDs, but got ${JSON.stringify(id.slice(0, 64))}.`);
  }
  return sql`${`{${ids.join(',')}}`}`;
}

function refuseTimestamp(value: string): never {
  throw new RangeError(
    `A timestamptz is read in UTC, in the years 0001 to 9999, but got ${JSON.stringify(value)}.`,
  );
}
