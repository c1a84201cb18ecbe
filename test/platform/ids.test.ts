import { expect, test } from 'vitest';
import * as fc from 'fast-check';

import { asUuid, idAt, idFloor, isoOf, microsFrom, microsOf, openClock } from '../../src/platform/ids.ts';

const MILLI = 1_000n;
const SECOND = 1_000_000n;
const HOUR = 3600n * SECOND;
/** Every microsecond a UUIDv7 can hold. */
const idMicros = fc.bigInt({ min: 0n, max: 2n ** 48n * MILLI - 1n });
/** Every microsecond of the years 0001 to 9999. */
const micros = fc.bigInt({
  min: microsFrom('0001-01-01T00:00:00Z'),
  max: microsFrom('9999-12-31T23:59:59.999999Z'),
});

test('an id gives its time back to the microsecond', () => {
  fc.assert(fc.property(idMicros, (t) => microsOf(idAt(t)) === t && microsOf(idFloor(t)) === t));
  for (let t = 0n; t < 1000n; t++)
    expect(microsOf(idAt(1_767_323_045_123_000n + t))).toBe(1_767_323_045_123_000n + t);
});

test('ids sort as their times do, also a microsecond apart', () => {
  const near = fc
    .tuple(idMicros, fc.bigInt({ min: 1n, max: 2000n }))
    .map(([t, step]) => [t, t + step] as const);
  fc.assert(
    fc.property(fc.oneof(fc.tuple(idMicros, idMicros), near), ([a, b]) => {
      fc.pre(a !== b && b < 2n ** 48n * MILLI);
      expect(idAt(a) < idAt(b)).toBe(a < b);
    }),
  );
});

test('a time is within a date filter if and only if its id is', () => {
  const near = fc
    .tuple(idMicros, fc.bigInt({ min: -3n, max: 3n }))
    .map(([t, step]) => [t, t + step] as const);
  fc.assert(
    fc.property(near, ([t, from]) => {
      fc.pre(from < 2n ** 48n * MILLI);
      expect(idAt(t) >= idFloor(from)).toBe(t >= from);
    }),
  );
  expect(idFloor(microsFrom('0001-01-01T00:00:00Z'))).toBe('00000000-0000-7000-8000-000000000000');
});

test('an id is a UUIDv7 by the letter of RFC 9562, and no two of one microsecond are alike', () => {
  // RFC 9562, appendix A.6: 0x017F22E279B0 is 2022-02-22T19:22:22.000Z.
  expect(idFloor(microsFrom('2022-02-22T19:22:22Z'))).toBe('017f22e2-79b0-7000-8000-000000000000');
  expect(microsOf('017F22E2-79B0-7CC3-98C4-DC0C0C07398F')).toBe(microsFrom('2022-02-22T19:22:22.000798Z'));
  fc.assert(
    fc.property(idMicros, (t) => {
      expect(idAt(t)).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    }),
  );
  expect(new Set(Array.from({ length: 1000 }, () => idAt(1n))).size).toBe(1000);
});

test('an id of another maker never claims a time outside its millisecond', () => {
  expect(microsOf('017f22e2-79b0-7fff-bfff-ffffffffffff')).toBe(microsFrom('2022-02-22T19:22:22.000999Z'));
});

test.each([
  '',
  'x',
  '017f22e2-79b0-4cc3-98c4-dc0c0c07398f',
  '017f22e2-79b0-7cc3-18c4-dc0c0c07398f',
  '{017f22e2-79b0-7cc3-98c4-dc0c0c07398f}',
  '017f22e279b07cc398c4dc0c0c07398f',
])('%j is not a UUIDv7', (id) => {
  expect(() => microsOf(id)).toThrow(RangeError);
});

test('an id from outside is taken in either case, and what is no UUID is none', () => {
  expect(asUuid('017F22E2-79B0-7CC3-98C4-DC0C0C07398F')).toBe('017f22e2-79b0-7cc3-98c4-dc0c0c07398f');
  for (const odd of [
    '',
    '1',
    '{017f22e2-79b0-7cc3-98c4-dc0c0c07398f}',
    '017f22e279b07cc398c4dc0c0c07398f',
    "1' OR '1'='1",
  ]) {
    expect(asUuid(odd)).toBeUndefined();
  }
  expect(asUuid('017f22e2-79b0-7cc3-98c4-dc0c0c07398f\n')).toBeUndefined();
});

test('a time that no UUIDv7 can hold is refused', () => {
  expect(() => idAt(-1n)).toThrow(RangeError);
  expect(() => idAt(2n ** 48n * MILLI)).toThrow(RangeError);
  expect(() => idFloor(2n ** 48n * MILLI)).toThrow(RangeError);
});

test('a time keeps its microseconds through ISO text', () => {
  expect(isoOf(1_767_323_045_123_456n)).toBe('2026-01-02T03:04:05.123456Z');
  expect(isoOf(-1n)).toBe('1969-12-31T23:59:59.999999Z');
  fc.assert(fc.property(micros, (t) => microsFrom(isoOf(t)) === t));
  fc.assert(fc.property(micros, micros, (a, b) => isoOf(a) < isoOf(b) === a < b));
  expect(() => isoOf(microsFrom('9999-12-31T23:59:59.999999Z') + 1n)).toThrow(RangeError);
  expect(() => isoOf(microsFrom('0001-01-01T00:00:00Z') - 1n)).toThrow(RangeError);
});

test('a time reads as JavaScript reads it, down to the millisecond', () => {
  const dates = fc.date({
    min: new Date('0001-01-01T00:00:00Z'),
    max: new Date('9999-12-31T23:59:59.999Z'),
    noInvalidDate: true,
  });
  fc.assert(
    fc.property(dates, (date) => {
      expect(microsFrom(date.toISOString())).toBe(BigInt(date.getTime()) * MILLI);
    }),
  );
});

test.each([
  ['2026-01-02T03:04:05Z', '2026-01-02T03:04:05.000000Z'],
  ['2026-01-02t03:04:05z', '2026-01-02T03:04:05.000000Z'],
  ['2026-01-02T03:04:05.1Z', '2026-01-02T03:04:05.100000Z'],
  ['2026-01-02T03:04:05.123456789Z', '2026-01-02T03:04:05.123456Z'],
  ['2026-01-02T03:04:05.999999999Z', '2026-01-02T03:04:05.999999Z'],
  ['2026-01-02T03:04:05+01:00', '2026-01-02T02:04:05.000000Z'],
  ['2026-01-02T03:04:05-05:30', '2026-01-02T08:34:05.000000Z'],
  ['2026-01-01T00:30:00+23:59', '2025-12-31T00:31:00.000000Z'],
  ['2026-01-02T03:04:05-00:00', '2026-01-02T03:04:05.000000Z'],
  ['2024-02-29T00:00:00Z', '2024-02-29T00:00:00.000000Z'],
  ['2000-02-29T00:00:00Z', '2000-02-29T00:00:00.000000Z'],
  ['0099-03-01T00:00:00Z', '0099-03-01T00:00:00.000000Z'],
  ['1969-12-31T23:59:59.5Z', '1969-12-31T23:59:59.500000Z'],
  ['2016-12-31T23:59:60Z', '2017-01-01T00:00:00.000000Z'],
  ['2017-01-01T00:59:60.25+01:00', '2017-01-01T00:00:00.250000Z'],
])('%s is %s', (text, iso) => {
  expect(isoOf(microsFrom(text))).toBe(iso);
});

test.each([
  '',
  '2026-01-02',
  '2026-01-02T03:04:05',
  '2026-01-02 03:04:05Z',
  '2026-01-02T03:04Z',
  '2026-01-02T03:04:05.Z',
  '2026-01-02T03:04:05.1234567890Z',
  '2026-01-02T03:04:05,5Z',
  '2026-01-02T03:04:05+0100',
  '2026-01-02T03:04:05+01',
  '2026-01-02T03:04:05+24:00',
  '2026-01-02T03:04:05+01:60',
  '2026-01-02T24:00:00Z',
  '2026-01-02T03:60:00Z',
  '2026-01-02T03:04:60Z',
  '2026-01-02T03:04:61Z',
  '2026-00-02T03:04:05Z',
  '2026-13-02T03:04:05Z',
  '2026-01-00T03:04:05Z',
  '2026-01-32T03:04:05Z',
  '2026-04-31T03:04:05Z',
  '2026-02-29T03:04:05Z',
  '2100-02-29T03:04:05Z',
  '0000-01-01T00:00:00Z',
  '9999-12-31T23:59:59-00:01',
  '+002026-01-02T03:04:05Z',
  '-0001-01-02T03:04:05Z',
  ' 2026-01-02T03:04:05Z',
  '2026-01-02T03:04:05Z\n',
  '٢٠٢٦-01-02T03:04:05Z',
  '1767323045',
])('%j is not a date-time', (text) => {
  expect(() => microsFrom(text)).toThrow('Not a date-time');
});

test('no text whatever breaks the reading of a date-time, and the refusal is short', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
      expect(() => microsFrom(text)).toThrow(RangeError);
    }),
  );
  expect(() => microsFrom('9'.repeat(100_000))).toThrow(/^.{1,250}$/);
});

test('the clock of this process tells the time and never the same one twice', () => {
  const clock = openClock();
  const readings = Array.from({ length: 20_000 }, () => clock.now());
  expect(readings.every((reading, i) => i === 0 || reading > readings[i - 1]!)).toBe(true);
  const behind = BigInt(Date.now()) * MILLI - clock.now();
  expect(behind > -100n * MILLI && behind < 100n * MILLI).toBe(true);
});

/** A clock over a machine whose two time sources are moved by hand. */
function machine() {
  let wall = 1_767_323_045_000;
  let timer = 5_000_000_000n;
  const clock = openClock({ wallMillis: () => wall, monotonicNanos: () => timer });
  return {
    clock,
    pass: (millis: number) => {
      wall += millis;
      timer += BigInt(millis) * 1_000_000n;
    },
    setWall: (millis: number) => void (wall += millis),
    offBy: () => clock.now() - BigInt(wall) * MILLI,
  };
}

test('the clock runs with the timer, not with every small correction of the machine', () => {
  const { clock, pass, setWall } = machine();
  const start = clock.now();
  setWall(40);
  pass(10);
  expect(clock.now() - start).toBe(10n * MILLI);
  setWall(-80);
  pass(10);
  expect(clock.now() - start).toBe(20n * MILLI);
});

test('the clock follows the machine ahead at once', () => {
  const { clock, pass, setWall, offBy } = machine();
  const start = clock.now();
  setWall(3_600_000);
  pass(1);
  expect(clock.now() - start).toBe(HOUR + MILLI);
  expect(offBy() <= 1n).toBe(true);
});

test('a machine set back an hour neither turns the clock back nor stops it, and the two meet again', () => {
  const { clock, pass, setWall, offBy } = machine();
  const start = clock.now();
  setWall(-3_600_000);
  pass(60_000);
  const minute = clock.now();
  expect(minute - start).toBe(30n * SECOND);
  for (let i = 0; i < 121; i++) {
    pass(60_000);
    clock.now();
  }
  expect(offBy() <= 50n * MILLI).toBe(true);
});

test('the clock never goes back, whatever the machine does', () => {
  const moves = fc.array(
    fc.oneof(
      fc.record({ pass: fc.integer({ min: 0, max: 10_000_000 }) }),
      fc.record({ setWall: fc.integer({ min: -100_000_000, max: 100_000_000 }) }),
    ),
  );
  fc.assert(
    fc.property(moves, (steps) => {
      const { clock, pass, setWall } = machine();
      let last = clock.now();
      for (const step of steps) {
        if ('pass' in step) pass(step.pass);
        else setWall(step.setWall);
        const reading = clock.now();
        expect(reading > last).toBe(true);
        last = reading;
      }
    }),
  );
});
