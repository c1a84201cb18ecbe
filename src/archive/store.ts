/** Where archived months lie: a folder, or a bucket of an S3-compatible store. */
import { createReadStream } from 'node:fs';
import { copyFile, mkdir, rename, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Readable } from 'node:stream';
import { AwsClient } from 'aws4fetch';

import type { Settings } from '../platform/settings.ts';

const UNSIGNED = { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' };

export interface ArchiveStore {
  /** Copies a file there, over one of the same name. Rejects unless all of it has come. */
  put(name: string, file: string): Promise<void>;
  /** Writes a text there, over one of the same name. */
  putText(name: string, text: string): Promise<void>;
}

type Where = Pick<
  Settings,
  | 'auditArchive'
  | 'auditArchiveAccessKeyId'
  | 'auditArchiveSecretAccessKey'
  | 'auditArchiveRegion'
  | 'dataDir'
>;

/** The store that the settings name; without one the folder `archive` in the data folder. */
export function openArchiveStore(where: Where): ArchiveStore {
  const { auditArchive: archive, dataDir } = where;
  return archive !== undefined && /^https?:/.test(archive)
    ? bucketAt(archive.replace(/\/+$/, ''), where)
    : folderAt(archive ?? path.join(dataDir, 'archive'));
}

function folderAt(folder: string): ArchiveStore {
  /** What has its name is whole: it is written under another first. */
  const written = async (name: string, write: (file: string) => Promise<void>) => {
    const file = path.join(folder, name);
    await mkdir(path.dirname(file), { recursive: true });
    await write(`${file}.partial`);
    await rename(`${file}.partial`, file);
  };
  return {
    put: (name, file) => written(name, (target) => copyFile(file, target)),
    putText: (name, text) => written(name, (target) => writeFile(target, text)),
  };
}

function bucketAt(url: string, where: Where): ArchiveStore {
  const client = new AwsClient({
    accessKeyId: where.auditArchiveAccessKeyId ?? '',
    secretAccessKey: where.auditArchiveSecretAccessKey ?? '',
    region: where.auditArchiveRegion,
    service: 's3',
  });
  const said = async (name: string, init: RequestInit) => {
    const response = await client.fetch(`${url}/${name}`, init);
    if (!response.ok)
      throw new Error(
        `The archive answers ${response.status} to ${init.method} ${name}: ${await response.text()}`,
      );
    return response;
  };
  return {
    async put(name, file) {
      const { size } = await stat(file);
      // aws4fetch would hash the body to sign it, and so hold all of it.
      const signed = await client.sign(`${url}/${name}`, { method: 'PUT', headers: UNSIGNED });
      const response = await fetch(signed.url, {
        method: 'PUT',
        headers: [...signed.headers, ['content-length', String(size)]],
        body: Readable.toWeb(createReadStream(file)),
        duplex: 'half',
      });
      if (!response.ok)
        throw new Error(`The archive answers ${response.status} to PUT ${name}: ${await response.text()}`);
      const there = Number((await said(name, { method: 'HEAD' })).headers.get('content-length'));
      if (there !== size) throw new Error(`The archive holds ${there} of the ${size} bytes of ${name}.`);
    },
    putText: async (name, text) => void (await said(name, { method: 'PUT', body: text })),
  };
}
