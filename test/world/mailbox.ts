import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';

import type { World } from './server.ts';
import { until } from './wait.ts';

/** What a link of a mail leads to. */
export interface MailedLink {
  /** `reset-password`, `verify-email` or `accept-invitation`. */
  readonly page: string;
  readonly token: string;
}

/** The links mailed to an address so far, the oldest first, once there are at least that many. */
export async function linksTo(
  { dataDir }: Pick<World, 'dataDir'>,
  address: string,
  atLeast = 1,
): Promise<readonly MailedLink[]> {
  let found: MailedLink[] = [];
  await until(`${atLeast} mails to ${address}`, async () => {
    const folder = path.join(dataDir, 'mail');
    const files = (await readdir(folder).catch(() => [])).filter((file) => file.endsWith('.eml')).sort();
    const mails = await Promise.all(files.map((file) => readFile(path.join(folder, file), 'utf8')));
    found = mails
      .map((mail) => mail.replaceAll('=\r\n', ''))
      .filter((mail) => mail.includes(`To: ${address}\r\n`))
      .map((mail) => {
        const [, page, token] = /console\/([\w-]+)\?token=(?:3D)?([\w-]+)/.exec(mail) ?? [];
        return { page: page!, token: token! };
      });
    return found.length >= atLeast;
  });
  return found;
}

/** The last link mailed to an address, once there is one. */
export async function linkTo(here: Pick<World, 'dataDir'>, address: string): Promise<MailedLink> {
  return (await linksTo(here, address)).at(-1)!;
}
