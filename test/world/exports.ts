/** Exports as a client makes and fetches them. */
import type { Person } from './server.ts';
import { until } from './wait.ts';

const EXPORT_MS_MAX = 60_000;

/** What is told of an export. */
export interface Exported {
  readonly id: string;
  readonly state: string;
  readonly progress: number;
  readonly rows: number;
  readonly bytes: number;
  readonly manifest: string;
  readonly downloadUrl: string;
  readonly error: string | null;
}

/** Resolves when the export is done, with all that is told of it. */
export async function exportDone(by: Person, id: string): Promise<Exported> {
  let found: Exported | undefined;
  await until(
    'the export is done',
    async () => {
      const { data } = await by.ask(
        `{ auditExport(id: "${id}") { id state progress rows bytes manifest downloadUrl error } }`,
      );
      found = data.auditExport as Exported;
      if (found.state === 'FAILED') throw new Error(`The export failed: ${found.error}`);
      return found.state === 'DONE';
    },
    EXPORT_MS_MAX,
  );
  return found!;
}

/** Has a log exported, and waits for it. */
export async function exported(by: Person, input: object): Promise<Exported> {
  const { data, errors } = await by.do('createAuditExport', input, 'auditExport { id }');
  if (errors.length > 0) throw new Error(`No export: ${JSON.stringify(errors)}`);
  return await exportDone(by, data.auditExport.id as string);
}

/** Fetches the file that a link leads to, whatever name the server goes by. */
export async function download(
  url: string,
  { downloadUrl }: Pick<Exported, 'downloadUrl'>,
): Promise<Response> {
  const { pathname, search } = new URL(downloadUrl);
  return await fetch(new URL(pathname + search, url));
}
