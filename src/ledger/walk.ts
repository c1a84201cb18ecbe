/** Going along a log, record by record and checkpoint by checkpoint, until the first thing that is wrong. */
import { openCheckpoint, type TreeHead, type VerifierKey } from './checkpoint.ts';
import { completeSpans, HASH_BYTES, openFrontier } from './merkle.ts';

/** What can be wrong with a log. */
export type FaultReason =
  /** A record that was sealed is not there. */
  | 'RECORD_MISSING'
  /** A record does not say what it said when it was sealed. */
  | 'RECORD_ALTERED'
  /** A record is there that was never sealed, though all of its time is. */
  | 'RECORD_INSERTED'
  /** The order has a gap, or holds a place twice. */
  | 'ORDER_ALTERED'
  /** Records and their hashes agree, but they are not those a checkpoint was signed for. */
  | 'RECORDS_REPLACED'
  /** A stored hash of a subtree is not that of its leaves. */
  | 'TILE_ALTERED'
  /** A checkpoint is not signed by the log's key, or not for this log. */
  | 'CHECKPOINT_FORGED'
  /** The log is shorter than a checkpoint says. */
  | 'LOG_CUT';

/** The first thing that is wrong, and where. */
export class LedgerFault extends Error {
  override readonly name = 'LedgerFault';
  readonly reason: FaultReason;
  /** The first position that is wrong. */
  readonly position: number;
  /** The record there, where it is known. */
  readonly recordId: string | null;
  constructor(reason: FaultReason, position: number, message: string, recordId: string | null = null) {
    super(message);
    this.reason = reason;
    this.position = position;
    this.recordId = recordId;
  }
}

/** A record as the walk comes to it. */
export interface Visited {
  readonly id: string;
  /** The hash it was sealed with. */
  readonly sealed: Buffer;
  /** The hash of what it says now; undefined when it is not there. */
  readonly found: Buffer | undefined;
}

/** A walk along one log. Every step throws a LedgerFault when something is wrong. */
export interface Walk {
  /** The position of the next record. */
  readonly position: number;
  record(visited: Visited): void;
  /** A checkpoint of just the records so far. */
  checkpoint(note: string): TreeHead;
  /** A checkpoint of more records; `after` are the hashes of the `completeSpans` from here to its size. */
  close(note: string, after: readonly Buffer[]): TreeHead;
}

/** Throws a LedgerFault unless the record is there and says what it said when it was sealed. */
export function assertRecord({ id, sealed, found }: Visited, at: number): void {
  if (!found) throw new LedgerFault('RECORD_MISSING', at, `The record ${id} at ${at} is not there.`, id);
  if (!found.equals(sealed)) {
    throw new LedgerFault('RECORD_ALTERED', at, `The record ${id} at ${at} is not what was sealed.`, id);
  }
}

/** Begins a walk at a position; `before` are the hashes of the `completeSpans` up to it. */
export function openWalk(key: VerifierKey, from = 0, before: readonly Buffer[] = []): Walk {
  const subtrees = completeSpans({ from: 0, to: from }).length;
  if (before.length !== subtrees || before.some((hash) => hash.length !== HASH_BYTES))
    throw new Error(`A walk from ${from} on needs the ${subtrees} hashes of what is before it.`);
  const tree = openFrontier(from, before);
  /** Up to here the log is what some checkpoint was signed for. */
  let proven = from;

  function headIn(note: string): TreeHead {
    try {
      return openCheckpoint(note, key);
    } catch (cause) {
      throw new LedgerFault('CHECKPOINT_FORGED', proven, (cause as Error).message);
    }
  }

  function assertRoot(head: TreeHead, walkedTo: number) {
    if (!tree.root().equals(head.root)) {
      const records = walkedTo > proven ? `records ${proven} to ${walkedTo - 1}` : `hashes around ${proven}`;
      throw new LedgerFault(
        'RECORDS_REPLACED',
        proven,
        `The ${records} are not what the checkpoint of ${head.size} was signed for.`,
      );
    }
    proven = walkedTo;
  }

  return {
    get position() {
      return tree.size;
    },
    record(visited) {
      assertRecord(visited, tree.size);
      tree.push(visited.sealed);
    },
    checkpoint(note) {
      const head = headIn(note);
      if (head.size !== tree.size) {
        throw new LedgerFault(
          'CHECKPOINT_FORGED',
          proven,
          `A checkpoint of ${head.size} stands at ${tree.size}.`,
        );
      }
      assertRoot(head, tree.size);
      return head;
    },
    close(note, after) {
      const head = headIn(note);
      const walkedTo = tree.size;
      const spans = completeSpans({ from: walkedTo, to: head.size });
      if (head.size < walkedTo || spans.length !== after.length) {
        throw new LedgerFault(
          'CHECKPOINT_FORGED',
          proven,
          `The checkpoint of ${head.size} does not close a walk to ${walkedTo}.`,
        );
      }
      for (const [at, { from: first, to }] of spans.entries()) tree.push(after[at]!, to - first);
      assertRoot(head, walkedTo);
      return head;
    },
  };
}
