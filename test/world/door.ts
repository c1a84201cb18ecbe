import { onTestFinished } from 'vitest';

import { type Database, type DatabaseOptions, openDatabase } from '../../src/platform/db.ts';
import { type FreshDatabase, freshDatabase } from './database.ts';

/** An empty database of the test's own behind the application's door, which is closed when the test ends. */
export async function openWorld(
  schema: string,
  { on, ...options }: Partial<DatabaseOptions> & { readonly on?: string } = {},
): Promise<FreshDatabase & { readonly db: Database }> {
  const fresh = await freshDatabase({ from: '', ...(on === undefined ? {} : { on }) });
  await fresh.admin.unsafe(schema);
  return { ...fresh, db: openDoor({ url: fresh.adminUrl, ...options }) };
}

/** Opens the door, and closes it when the test ends. */
export function openDoor(options: DatabaseOptions): Database {
  const db = openDatabase(options);
  onTestFinished(() => db.stop());
  return db;
}
