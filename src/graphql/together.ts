import DataLoader from 'dataloader';

import type { PersonalValues } from '../audit/personal.ts';
import { personalOf } from '../audit/query.ts';
import type { AuditLogRow } from '../audit/tables.ts';
import type { House } from './context.ts';

const RECORDS_A_BATCH_MAX = 500;

type Loader = DataLoader<AuditLogRow, PersonalValues>;
const loaders = new WeakMap<House, Loader>();

/**
 * The personal values of records in hand, for all who follow the log: what they ask while the database answers is asked in one
 * statement then, so the more there is to read the less a record costs. Keeps nothing.
 */
export function personalTogether(house: House): Loader {
  const loader = loaders.get(house) ?? openLoader(house);
  loaders.set(house, loader);
  return loader;
}

function openLoader({ db, services }: House): Loader {
  let answered: Promise<unknown> = Promise.resolve();
  return new DataLoader(
    (rows) => {
      const answer = db.withReadTx('PLATFORM', (tx) => personalOf({ tx, services }, rows));
      answered = answer.catch(() => {});
      return answer;
    },
    {
      cache: false,
      maxBatchSize: RECORDS_A_BATCH_MAX,
      batchScheduleFn: (ask) => void answered.then(() => setImmediate(ask)),
    },
  );
}
