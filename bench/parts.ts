import { bulkCost } from './bulk.ts';
import type { Table } from './figures.ts';
import { exportCost } from './files.ts';
import { ingestRate } from './ingest.ts';
import { liveCost } from './live.ts';
import { loginCost } from './logins.ts';
import { neighbourCost } from './neighbours.ts';
import { countingCost, readingCost } from './reading.ts';
import { profileOfServer } from './profile.ts';
import { sealingLag } from './sealing.ts';
import type { Stage } from './stage.ts';
import { writingCost } from './writing.ts';

/** Something that is measured by itself. */
export interface Part {
  readonly title: string;
  /** What exactly is measured, for the report. */
  readonly about: string;
  /** Whether it works on the seeded log, not on a database of its own. */
  readonly onSeeded: boolean;
  readonly measure: (stage: Stage) => Promise<Table[]>;
}

/** In the order of the report. */
export const PARTS: Readonly<Record<string, Part>> = {
  writing: {
    title: 'Audited and unaudited mutations',
    about: `\`updateUser\`, each client with a user of its own, over HTTP with keep-alive, the audited one beside the seeded log.
Unaudited is the same deed through the same door and transaction, in a database of the same server whose guards on \`users\` are
disabled: it leaves out composing, hashing and inserting the record, the triggers, and what the sealer then does.`,
    onSeeded: true,
    measure: writingCost,
  },
  reading: {
    title: 'Pages under each filter',
    about: `\`auditLogs(first: 50)\` of the largest tenant's log with its personal values decrypted, as an administrator sees it,
from the request to the parsed answer: HTTP, token, session lookup, transaction, GraphQL. The SQL are the very statements the
resolvers send for it, prepared, as the application role under row-level security, one after the other on one connection of
postgres.js without a transaction; rows arrive as objects, and nothing is decrypted. Each filter has a value that is common in the
tenant. The deep page is reached by cursor: page 1,000, or the last one of a walk in steps of 500 where a filter lets less through;
where it lets less than 500 through there is none.`,
    onSeeded: true,
    measure: readingCost,
  },
  counting: {
    title: 'Counts and statistics',
    about: `Of the largest tenant's log, over HTTP and as SQL as above. \`countUpTo\` counts to 10,000; \`auditStatistics\` is over the
last 30 days of the log.`,
    onSeeded: true,
    measure: countingCost,
  },
  profile: {
    title: 'Where the time goes',
    about: `A CPU profile of the server while one client asks for page after page as above, and then changes a user time and again: the
main thread, by the package or the room of Custos whose code runs. What Node and native code do counts for who called it: the
writing to a socket of the database is \`postgres\`. Waiting for the database is not in it. The profiler itself slows it by some.`,
    onSeeded: true,
    measure: profileOfServer,
  },
  neighbours: {
    title: 'Side by side',
    about: `The same records on the same database server, one client asking each in turn over HTTP for the same eight fields.
PostGraphile 5 works on the tables of Custos through the same role and policies, without a session lookup: a header names the
tenant. The original's design is one heap table with random ids and twelve indexes, paged by offset, each page with a count, behind
a plain Apollo Server without authentication or row-level security; its page 1,000 is an offset, that of the others a cursor. A ratio
below 1 says that Custos takes less time.`,
    onSeeded: true,
    measure: neighbourCost,
  },
  logins: {
    title: 'Sign-ins',
    about: `\`login\` over HTTP, in turns with bare comparisons of bcryptjs in as many threads as the server has for passwords. The
event-loop delay is what the server's own metric says, which includes the 10 ms of its timer.`,
    onSeeded: false,
    measure: loginCost,
  },
  bulk: {
    title: 'Seeding, verification, export',
    about: `\`custos seed\` into an empty database, processes' start excluded, migration, keys, sealing and rolling up included, against
COPY FROM of the same records into a plain table with the same columns, checks and indexes. \`custos verify --database\` and
\`GET /audit/TENANT/export.ndjson\` against COPY TO of the same records. COPY is the owner's, through postgres.js to a file. Memory is
the resident set of the process that does it.`,
    onSeeded: true,
    measure: bulkCost,
  },
  live: {
    title: 'Subscribers',
    about: `At one process, each follows its tenant's log and gets the position and the decrypted names of actor and resource. The
records are written straight to the database, as another process would, so they wait for the sealer to look (every 50 ms). From the
commit to the parsed message; all of them must arrive. Memory is the server's resident set before and after they came, by their
number.`,
    onSeeded: false,
    measure: liveCost,
  },
  ingest: {
    title: 'Events of other applications',
    about: `\`recordAuditEvents\` over HTTP with an API key, into an empty database: each event is checked against the JSON Schema of
its type, looked up by its idempotency key, and becomes a record, which is sealed, signed and judged meanwhile. The clients are on the
same two processors.`,
    onSeeded: false,
    measure: ingestRate,
  },
  files: {
    title: 'Files of a log',
    about: `\`createAuditExport\` of a log of that many records, each with personal values, from the order to the last byte of the file,
whose SHA-256 is that of its manifest. Memory is the resident set of the server, by its own numbers, above what it was before.`,
    onSeeded: false,
    measure: exportCost,
  },
  sealing: {
    title: 'Sealing',
    about: `Records are inserted as they are, without mutations, 1 and 25 a transaction; the server orders them, keeps the numbers, the
leaves and the checkpoints. From the answer to the commit until another process hears that it is sealed.`,
    onSeeded: false,
    measure: sealingLag,
  },
};
