import { Kind, parse, type DocumentNode } from 'graphql';
import { observed, type Observed } from './observed.ts';
import { isRecord, refusalIn, refusalOf, type Refusal } from './request.ts';

/** So many entries are kept; older ones go. */
export const ENTRIES_MAX = 1_000;
const REDRAW_MS = 50;

/** An operation as it is sent. The same object is sent again on a reconnect, so its variables say where to resume. */
export interface Payload {
  query: string;
  operationName?: string | null;
  variables: Record<string, unknown>;
}

/** One event of a subscription, or why it ended. */
export interface FeedEntry {
  /** Counts up from 1 and names the entry. */
  readonly number: number;
  readonly receivedAt: Date;
  /** The subscription it came through. */
  readonly stream: string;
  readonly cursor: string | null;
  readonly node: unknown;
  readonly refusal: Refusal | null;
}

/** A running subscription. */
export interface FeedStream {
  readonly id: number;
  readonly label: string;
  /** The last cursor, also that of a progress beat, and when it came. */
  readonly caughtUpTo: { readonly cursor: string; readonly at: Date } | null;
  /** Whether it goes on from the last cursor after a lost connection. */
  readonly resumes: boolean;
}

interface FeedState {
  /** Newest first; does not change while paused. */
  readonly entries: readonly FeedEntry[];
  readonly streams: readonly FeedStream[];
  /** Events since the last clearing, those that were dropped included. */
  readonly total: number;
  readonly paused: boolean;
}

/** Everything that the running subscriptions of the page yield. */
export interface LiveFeed {
  readonly state: Observed<FeedState>;
  /** Starts a subscription of the panel's own; `label` names it, and one of a name runs at a time. */
  readonly start: (label: string, query: string) => void;
  readonly stop: (label: string) => void;
  /** Passes on what `results` yields, having seen it. */
  readonly tap: <T>(payload: Payload, results: AsyncIterable<T>) => AsyncIterableIterator<T>;
  /** Freezes the entries that are shown, or shows what has come in since. Nothing is lost (within ENTRIES_MAX). */
  readonly pause: (paused: boolean) => void;
  readonly clear: () => void;
  /** Lets the running subscriptions begin anew when they reconnect: a cursor is of no use to somebody else. */
  readonly forgetCursors: () => void;
}

/** Starts an operation over the socket and returns what ends it. */
export type Subscribe = (
  payload: Payload,
  sink: { next(result: unknown): void; error(cause: unknown): void; complete(): void },
) => () => void;

interface Stream {
  readonly label: string;
  readonly next: (result: unknown) => void;
  readonly end: (cause?: unknown) => void;
  readonly forget: () => void;
  readonly shown: () => FeedStream;
}

/** An empty feed whose own subscriptions go through `subscribe`. */
export function openLiveFeed(subscribe: Subscribe): LiveFeed {
  const streams = new Map<number, Stream>();
  const stops = new Map<string, () => void>();
  let entries: FeedEntry[] = [];
  let frozen: readonly FeedEntry[] | null = null;
  let total = 0;
  let numbers = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const state = observed(snapshot());

  return {
    state,
    start: (label, query) => {
      stops.get(label)?.();
      const payload: Payload = { query, variables: {} };
      const stream = open(payload, label);
      const unsubscribe = subscribe(payload, {
        next: stream.next,
        error: (cause) => {
          stops.delete(label);
          stream.end(cause);
        },
        complete: () => stream.end(),
      });
      stops.set(label, () => {
        stops.delete(label);
        unsubscribe();
        stream.end();
      });
    },
    stop: (label) => stops.get(label)?.(),
    tap: (payload, results) => tapped(results[Symbol.asyncIterator](), open(payload)),
    pause: (paused) => {
      frozen = paused ? [...entries] : null;
      redraw();
    },
    clear: () => {
      entries = [];
      frozen &&= [];
      total = 0;
      redraw();
    },
    forgetCursors: () => {
      for (const stream of streams.values()) stream.forget();
    },
  };

  function open(payload: Payload, name?: string): Stream {
    const id = ++numbers;
    const { field, after } = describe(payload);
    const label = name ?? payload.operationName ?? field ?? 'subscription';
    const firstAfter = after && payload.variables[after];
    let caughtUpTo: FeedStream['caughtUpTo'] = null;
    const stream: Stream = {
      label,
      next: (result) => {
        const refusal = refusalIn(result);
        const value = rootValue(result);
        const cursor = isRecord(value) && typeof value.cursor === 'string' ? value.cursor : null;
        if (cursor !== null) {
          caughtUpTo = { cursor, at: new Date() };
          if (after) payload.variables[after] = cursor;
        }
        const node = isRecord(value) && 'node' in value ? value.node : value;
        // A null node is a beat: the stream is alive and has come this far.
        if (refusal || (node !== null && node !== undefined)) append(label, cursor, node, refusal ?? null);
        redrawSoon();
      },
      end: (cause) => {
        if (!streams.delete(id)) return;
        if (cause !== undefined) append(label, null, null, refusalOf(cause));
        redrawSoon();
      },
      forget: () => {
        caughtUpTo = null;
        if (after) payload.variables[after] = firstAfter;
      },
      shown: () => ({ id, label, caughtUpTo, resumes: after !== undefined }),
    };
    streams.set(id, stream);
    redrawSoon();
    return stream;
  }

  function append(stream: string, cursor: string | null, node: unknown, refusal: Refusal | null): void {
    total += 1;
    entries.unshift({ number: ++numbers, receivedAt: new Date(), stream, cursor, node, refusal });
    if (entries.length > ENTRIES_MAX) entries.length = ENTRIES_MAX;
  }

  /** A burst of events is one redraw. */
  function redrawSoon(): void {
    timer ??= setTimeout(redraw, REDRAW_MS);
  }

  function redraw(): void {
    clearTimeout(timer);
    timer = undefined;
    state.set(snapshot());
  }

  function snapshot(): FeedState {
    const shown = [...streams.values()].map((stream) => stream.shown());
    return { entries: frozen ?? [...entries], streams: shown, total, paused: frozen !== null };
  }
}

/** Not an async generator: its `return` would wait for the next event before it ends the subscription. */
function tapped<T>(results: AsyncIterator<T>, stream: Stream): AsyncIterableIterator<T> {
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    async next() {
      try {
        const result = await results.next();
        if (result.done) stream.end();
        else stream.next(result.value);
        return result;
      } catch (cause) {
        stream.end(cause);
        // GraphiQL shows errors as JSON, and a close event has none.
        throw Array.isArray(cause) ? cause : new Error(refusalOf(cause).message);
      }
    },
    async return() {
      stream.end();
      return (await results.return?.()) ?? { done: true, value: undefined };
    },
  };
}

/** The root field of the subscription, and the variable that it takes its `after` from, if it does. */
function describe({ query, operationName }: Payload): { field?: string; after?: string } {
  const operation = parsed(query)?.definitions.find(
    (definition) =>
      definition.kind === Kind.OPERATION_DEFINITION &&
      (!operationName || definition.name?.value === operationName),
  );
  if (operation?.kind !== Kind.OPERATION_DEFINITION) return {};
  const field = operation.selectionSet.selections.find((selection) => selection.kind === Kind.FIELD);
  if (!field) return {};
  const after = field.arguments?.find((argument) => argument.name.value === 'after')?.value;
  return { field: field.name.value, ...(after?.kind === Kind.VARIABLE && { after: after.name.value }) };
}

function parsed(query: string): DocumentNode | undefined {
  try {
    return parse(query, { noLocation: true });
  } catch {
    return undefined;
  }
}

/** A subscription has one root field; its alias does not matter. */
function rootValue(result: unknown): unknown {
  const data = isRecord(result) ? result.data : undefined;
  return isRecord(data) ? Object.values(data)[0] : undefined;
}
