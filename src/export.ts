/** `custos export`: has a running server write its log to a file, fetches it and checks it against its signed manifest. */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { rename, rm, writeFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as pause } from 'node:timers/promises';

import type { Client } from '@custos/client';
import {
  AuditExportDocument,
  type AuditExportFormat,
  CreateAuditExportDocument,
  type ExportFragment,
} from '@custos/client/operations';

import { connected } from './clientCommand.ts';
import { type ExportOptions, filterOf } from './clientOptions.ts';
import { openManifest } from './ledger/manifest.ts';

const LOOK_MS = 500;
const DIGITS = new Intl.NumberFormat('en');

/** Writes FILE and FILE.manifest; neither is there unless both are whole. Throws what went wrong, in a sentence. */
export async function exportTo(file: string, options: ExportOptions, signal: AbortSignal): Promise<void> {
  await connected(options, signal, async (client) => {
    const { tenantId, ...filter } = filterOf(options);
    const format = options.format.toUpperCase() as AuditExportFormat;
    const input = { tenantId, format, filter };
    const { createAuditExport } = await client.request(CreateAuditExportDocument, { input }, { signal });
    const made = await finished(client, createAuditExport!.auditExport.id, signal);
    const manifest = openManifest(made.manifest!);
    const partial = `${file}.partial`;
    try {
      const sha256 = await fetched(made, options.url, partial, signal);
      if (sha256 !== manifest.sha256)
        throw new Error('what came is not the file that its manifest tells of: try again');
      await writeFile(`${file}.manifest`, made.manifest!);
      await rename(partial, file);
    } finally {
      await rm(partial, { force: true });
    }
    const { rows, bytes, log } = manifest;
    process.stderr.write(
      `custos: ${file} holds ${DIGITS.format(rows)} records of ${log} in ${DIGITS.format(bytes)} bytes; \`custos verify ${file}.manifest\` checks it again\n`,
    );
  });
}

/** Waits for the file, and tells how far it has come. */
async function finished(client: Client, id: string, signal: AbortSignal): Promise<ExportFragment> {
  for (let told = -1; ;) {
    const { auditExport } = await client.request(AuditExportDocument, { id }, { signal });
    if (!auditExport) throw new Error('the export is not there any more');
    const { state, progress, rows, error } = auditExport;
    if (state === 'FAILED') throw new Error(error ?? 'the export failed');
    const percent = Math.floor(progress * 100);
    if (percent !== told)
      process.stderr.write(`custos: ${percent} %, ${DIGITS.format(BigInt(rows))} records\n`);
    told = percent;
    if (state === 'DONE') return auditExport;
    await pause(LOOK_MS, undefined, { signal });
  }
}

/** Writes the file as it comes, and returns its SHA-256, hexadecimal. */
async function fetched(
  { downloadUrl }: ExportFragment,
  url: string,
  to: string,
  signal: AbortSignal,
): Promise<string> {
  if (!downloadUrl) throw new Error('only a signed-in user is given the file, not an API key');
  const { pathname, search } = new URL(downloadUrl);
  // Where the server is reached from here: PUBLIC_URL is where browsers do.
  const response = await fetch(new URL(pathname + search, url), { signal });
  if (!response.ok || !response.body) throw new Error(`the file is not given: ${response.status}`);
  const hash = createHash('sha256');
  const body = Readable.fromWeb(response.body);
  body.on('data', (chunk: Buffer) => hash.update(chunk));
  await pipeline(body, createWriteStream(to), { signal });
  return hash.digest('hex');
}
