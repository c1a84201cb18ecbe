import { pino, type DestinationStream, type LevelWithSilent, type Logger } from 'pino';
import { z } from 'zod';

/**
 * Opens the process's log: one JSON object a line with an ISO time, or with `pretty` one readable line for a terminal.
 * Secrets are replaced by `[redacted]` wherever they stand by name, at any depth of what is logged; in the bindings of
 * a child on top only. A secret inside a text (a message, a URL) is not found: never put one there.
 */
export function openLog({ level, pretty = false, to = pino.destination(1) }: LogOptions): Logger {
  const options = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }), log: redactedFacts },
    serializers: { err: withoutValues },
    // For what is no plain object before it is serialised. Wildcards would reach further, at 45 us a line instead of 5.
    redact: { paths: [...SECRETS, ...SECRETS.flatMap(inHeaders)].map(quoted), censor: REDACTED },
  };
  return pino(options, pretty ? readable(to) : to);
}

export type LogOptions = {
  readonly level: LevelWithSilent;
  readonly pretty?: boolean;
  /** Where lines go; standard output unless told. */
  readonly to?: DestinationStream;
};

const REDACTED = '[redacted]';
const SECRETS = [
  'authorization',
  'cookie',
  'set-cookie',
  'password',
  'newPassword',
  'currentPassword',
  'token',
  'accessToken',
  'refreshToken',
];
const NAMES = new Set(SECRETS);
const inHeaders = (name: string) => [`req.headers.${name}`, `res.headers.${name}`];
const quoted = (way: string) => way.replace(/\.?set-cookie$/, '["set-cookie"]');

const redactedFacts = (facts: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(facts).map(([name, value]) => [name, NAMES.has(name) ? REDACTED : redacted(value, 1)]),
  );

/** Errors, dates and whatever else has a class keep their own way of being written. */
function redacted(value: unknown, depth: number): unknown {
  // Deeper than any request; a circle ends here too.
  if (depth > 16) return '[too deep]';
  if (Array.isArray(value)) return value.map((item) => redacted(item, depth + 1));
  if (!isPlain(value)) return value;
  const copy: Record<string, unknown> = {};
  for (const name of Object.keys(value))
    copy[name] = NAMES.has(name) ? REDACTED : redacted(value[name], depth + 1);
  return copy;
}

function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** What a driver's error says beside its message are the values of the row. */
function withoutValues(error: Error): unknown {
  const written: unknown = pino.stdSerializers.err(error);
  if (typeof written !== 'object' || written === null) return written;
  const facts = Object.entries(written).filter(([name]) => !['detail', 'parameters', 'args'].includes(name));
  return redactedFacts(Object.fromEntries(facts));
}

function readable(to: DestinationStream): DestinationStream {
  return {
    write(line) {
      const parsed = LINE.safeParse(JSON.parse(line));
      if (!parsed.success) return to.write(line);
      const { time, level, msg = '', err, ...rest } = parsed.data;
      const facts = Object.entries(rest).map(([name, value]) => ` ${name}=${JSON.stringify(value)}`);
      const stack = err === undefined ? '' : `\n${err.stack ?? JSON.stringify(err)}`;
      to.write(`${time.slice(11, 23)} ${level.toUpperCase().padEnd(5)} ${msg}${facts.join('')}${stack}\n`);
    },
  };
}

const LINE = z.looseObject({
  time: z.string(),
  level: z.string(),
  msg: z.string().optional(),
  err: z.looseObject({ stack: z.string().optional() }).optional(),
});
