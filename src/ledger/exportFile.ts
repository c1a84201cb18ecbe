/** Reads an exported log and checks it, with nothing at hand but the file and a key. */
import canonicalize from 'canonicalize';
import { z } from 'zod';

import { parseVerifierKey, type TreeHead, type VerifierKey } from './checkpoint.ts';
import { commitmentOf, hashOfRecord } from './leaf.ts';
import { LedgerFault, openWalk, type Walk } from './walk.ts';

const Hash = z.base64().transform((text) => Buffer.from(text, 'base64'));
const Position = z.int().min(0);

/** The first line: which log, where it begins, and the hashes of what is before it. */
const Header = z.object({
  format: z.literal('custos-audit-log@v1'),
  log: z.string(),
  /** The key the exporter says it is; trust it only if you got the same by another way. */
  verifierKey: z.string(),
  from: Position,
  before: z.array(Hash),
});

/** A person's values in a record, with the salt that the record's commitment to them was made with. */
const Personal = z.object({ subjectId: z.string(), salt: Hash, values: z.unknown() });

const Record = z.object({
  position: Position,
  /** The hash it was sealed with. */
  leafHash: Hash,
  /** As it is hashed; absent when it is not there any more. */
  record: z
    .looseObject({
      id: z.string(),
      commitments: z.array(z.object({ subjectId: z.string(), hash: z.string() })),
    })
    .optional(),
  /** Of those whose keys have not been destroyed. */
  personal: z.array(Personal).optional(),
});
/** Signed for just the records up to here. */
const Checkpoint = z.object({ checkpoint: z.string() });
/** The last line: signed for the records up to here and those with the hashes `after`. */
const End = z.object({ end: z.string(), after: z.array(Hash) });
const Line = z.union([Record, Checkpoint, End]);

export type ExportHeader = z.input<typeof Header>;
export type ExportLine = z.input<typeof Line>;
export type ExportedRecord = NonNullable<z.input<typeof Record>['record']>;

export interface CheckedExport {
  readonly key: VerifierKey;
  /** The first position, and the first that is not in the file. */
  readonly from: number;
  readonly to: number;
  /** What the last checkpoint says. */
  readonly head: TreeHead;
}

/**
 * Checks every line of an exported log; a key that is given must be the one it was signed with. Throws a LedgerFault for the
 * first record that is wrong, and an Error for what is no such file.
 */
export async function checkExport(
  lines: AsyncIterable<string>,
  trusted?: VerifierKey,
): Promise<CheckedExport> {
  let walk: Walk | undefined;
  let from = 0;
  let key: VerifierKey | undefined;
  let head: TreeHead | undefined;
  let to = 0;
  let number = 0;
  for await (const text of lines) {
    number++;
    if (text === '') continue;
    if (head) throw new Error(`Line ${number} comes after the end of the log.`);
    if (!walk) {
      const header = parsed(Header, text, number);
      key = trusted ?? parseVerifierKey(header.verifierKey);
      from = header.from;
      walk = openWalk(key, from, header.before);
      continue;
    }
    const said = parsed(Line, text, number);
    to = walk.position;
    if ('end' in said) head = walk.close(said.end, said.after);
    else if ('checkpoint' in said) walk.checkpoint(said.checkpoint);
    else visit(walk, said);
  }
  if (!walk || !key) throw new Error('The file is empty.');
  if (!head)
    throw new LedgerFault(
      'LOG_CUT',
      walk.position,
      `The file breaks off before ${walk.position}: its last line is not there.`,
    );
  return { key, from, to, head };
}

function visit(walk: Walk, { position, leafHash, record, personal = [] }: z.output<typeof Record>) {
  if (position !== walk.position) {
    throw new LedgerFault(
      'ORDER_ALTERED',
      walk.position,
      `At ${walk.position} the file has the record of ${position}.`,
    );
  }
  const id = record?.id ?? 'unknown';
  walk.record({ id, sealed: leafHash, found: record && hashOfRecord(canonicalize(record)!) });
  for (const { subjectId, salt, values } of personal) {
    const committed = record?.commitments.some(
      (each) => each.subjectId === subjectId && each.hash === commitmentOf(salt, values).toString('hex'),
    );
    if (!committed) {
      throw new LedgerFault(
        'RECORD_ALTERED',
        position,
        `The personal values of the record ${id} at ${position} are not those it was sealed with.`,
        id,
      );
    }
  }
}

function parsed<T>(schema: z.ZodType<T>, text: string, number: number): T {
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new Error(`Line ${number} is not one of an exported log.`, { cause });
  }
}
