import { randomUUID } from 'node:crypto';

const MICROS_A_SECOND = 1_000_000n;
const MICROS_A_DAY = 86_400n * MICROS_A_SECOND;
/** How far the clock may stray from the machine's before it is corrected, in nanoseconds. */
const DRIFT_NANOS = 50_000_000n;
const MILLIS_LIMIT = 2n ** 48n;
/** The least `rand_b` of a UUIDv7: the variant and 62 zero bits. */
const NO_RANDOM = '8000-000000000000';

/** A source of time whose readings, microseconds since 1970, are never equal and never go back in this process. */
export interface Clock {
  now(): bigint;
}

/**
 * Opens a clock that runs with the monotonic timer and follows the machine's clock within 50 ms.
 *
 * When the machine's clock jumps ahead, so does this one. When it is set back, this one runs at half speed until it
 * is caught up with: standing still would keep every token alive for as long as the step was wide.
 */
export function openClock({
  wallMillis = Date.now,
  monotonicNanos = () => process.hrtime.bigint(),
} = {}): Clock {
  const wallNanos = () => BigInt(wallMillis()) * 1_000_000n;
  let timer = monotonicNanos();
  let nanos = wallNanos();
  let last = 0n;
  return {
    now() {
      const reading = monotonicNanos();
      const step = reading - timer;
      timer = reading;
      const wall = wallNanos();
      const drift = wall - (nanos + step);
      if (drift > DRIFT_NANOS) nanos = wall;
      else nanos += drift < -DRIFT_NANOS ? step / 2n : step;
      const micros = nanos / 1000n;
      last = micros > last ? micros : last + 1n;
      return last;
    },
  };
}

/**
 * A new UUIDv7 of that time: 48 bits of milliseconds, 12 bits of the fraction (RFC 9562, 6.2 method 3), 62 random.
 * Ids of different microseconds sort as their times do, and `microsOf` gives the time back exactly. `random` makes a UUIDv4.
 */
export function idAt(micros: bigint, random: () => string = randomUUID): string {
  return `${timePart(micros)}-${random().slice(19)}`;
}

/**
 * The least id of that microsecond, for date filters: t >= from if and only if idAt(t) >= idFloor(from).
 * Times before 1970 give the least id of all.
 */
export function idFloor(micros: bigint): string {
  return `${timePart(micros < 0n ? 0n : micros)}-${NO_RANDOM}`;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** An id from outside as the database takes it; undefined where it cannot be the id of anything. */
export function asUuid(id: string): string | undefined {
  const lower = id.toLowerCase();
  return UUID.test(lower) ? lower : undefined;
}

/** The time in a UUIDv7, in microseconds. Throws a RangeError for anything else. */
export function microsOf(id: string): bigint {
  const match = /^([0-9a-f]{8})-([0-9a-f]{4})-7([0-9a-f]{3})-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i.exec(id);
  if (!match) throw new RangeError(`Not a UUIDv7: ${JSON.stringify(id.slice(0, 64))}.`);
  const [, high, low, fraction] = match;
  // Rounded up because idAt rounds down; another maker's id may hold a fraction beyond our last one, 4091.
  const inMilli = (BigInt(`0x${fraction}`) * 1000n + 4095n) / 4096n;
  return BigInt(`0x${high}${low}`) * 1000n + (inMilli > 999n ? 999n : inMilli);
}

/** The time as `2026-01-02T03:04:05.123456Z`, for the years 0001 to 9999. Throws a RangeError beyond them. */
export function isoOf(micros: bigint): string {
  const fraction = modulo(micros, MICROS_A_SECOND);
  const date = new Date(Number((micros - fraction) / 1000n));
  const year = date.getUTCFullYear();
  if (!(year >= 1 && year <= 9999)) {
    throw new RangeError(
      `A time lies in the years 0001 to 9999, but ${micros} microseconds since 1970 does not.`,
    );
  }
  return `${date.toISOString().slice(0, 19)}.${String(fraction).padStart(6, '0')}Z`;
}

/**
 * Reads an RFC 3339 date-time with an offset and up to nine digits of fraction; what is finer than a microsecond is
 * cut. A leap second is the second after it, as in Postgres. Throws a RangeError for everything else.
 */
export function microsFrom(iso: string): bigint {
  const match =
    /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))$/i.exec(iso) ??
    refuse(iso);
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1, 7).map(Number);
  const [fraction = '', sign = '+', offsetHour = '0', offsetMinute = '0'] = match.slice(7);
  const date = new Date(0);
  // Not Date.UTC or Date.parse: they take year 99 for 1999 and the 30th of February for the 2nd of March.
  date.setUTCFullYear(year, month - 1, day);
  // A day its month does not have shows in another month.
  if (date.getUTCMonth() !== month - 1) refuse(iso);
  if (hour > 23 || minute > 59 || second > 60 || Number(offsetHour) > 23 || Number(offsetMinute) > 59)
    refuse(iso);

  const offset = (Number(offsetHour) * 60 + Number(offsetMinute)) * (sign === '-' ? -60 : 60);
  const seconds = BigInt(date.getTime() / 1000 + hour * 3600 + minute * 60 + second - offset);
  if (second === 60 && modulo(seconds * MICROS_A_SECOND, MICROS_A_DAY) !== 0n) refuse(iso);
  const micros = seconds * MICROS_A_SECOND + BigInt(fraction.padEnd(6, '0').slice(0, 6));
  if (micros < FIRST || micros > LAST) refuse(iso);
  return micros;
}

/** 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999Z: what Postgres, JavaScript and ISO 8601 all can name. */
const FIRST = -62_135_596_800n * MICROS_A_SECOND;
const LAST = 253_402_300_800n * MICROS_A_SECOND - 1n;

function refuse(iso: string): never {
  throw new RangeError(
    `Not a date-time: ${JSON.stringify(iso.slice(0, 64))}. It is written like 2026-01-02T03:04:05.123456Z ` +
      'or 2026-01-02T03:04:05+01:00, in the years 0001 to 9999 (RFC 3339).',
  );
}

function timePart(micros: bigint): string {
  const millis = micros / 1000n;
  if (micros < 0n || millis >= MILLIS_LIMIT) {
    throw new RangeError(
      `A UUIDv7 holds a time from 1970 to 10889, but got ${micros} microseconds since 1970.`,
    );
  }
  const hex = millis.toString(16).padStart(12, '0');
  const fraction = (((micros % 1000n) * 4096n) / 1000n).toString(16).padStart(3, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7${fraction}`;
}

function modulo(value: bigint, by: bigint): bigint {
  return ((value % by) + by) % by;
}

/** A UUID of its 16 bytes. */
export function uuidOf(bytes: Buffer): string {
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
