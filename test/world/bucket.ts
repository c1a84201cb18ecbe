/** An S3-compatible store on this machine (https://github.com/jamhall/s3rver). */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { AwsClient } from 'aws4fetch';
import S3rver from 's3rver';
import { onTestFinished } from 'vitest';

/** The one key that s3rver knows. */
const KEY = 'S3RVER';

/** A bucket, what the environment has to say to use it, and what is in it. */
export async function bucket(name: string) {
  const directory = await mkdtemp(path.join(tmpdir(), 'custos-s3-'));
  const server = new S3rver({
    port: 0,
    address: '127.0.0.1',
    silent: true,
    directory,
    configureBuckets: [{ name, configs: [] }],
  });
  const { port } = await server.run();
  onTestFinished(async () => {
    await server.close();
    await rm(directory, { recursive: true, force: true });
  });
  const url = `http://127.0.0.1:${port}/${name}`;
  const client = new AwsClient({
    accessKeyId: KEY,
    secretAccessKey: KEY,
    service: 's3',
    region: 'us-east-1',
  });
  return {
    env: {
      AUDIT_ARCHIVE: `${url}/logs`,
      AUDIT_ARCHIVE_ACCESS_KEY_ID: KEY,
      AUDIT_ARCHIVE_SECRET_ACCESS_KEY: KEY,
    },
    async read(file: string): Promise<Buffer> {
      const response = await client.fetch(`${url}/logs/${file}`);
      if (!response.ok) throw new Error(`The store answers ${response.status} to ${file}.`);
      return Buffer.from(await response.arrayBuffer());
    },
  };
}
