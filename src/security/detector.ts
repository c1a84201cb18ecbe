/**
 * Judges every sealed record once, in sealed order, whoever dies when. Every process runs a detector; whoever holds the
 * lock of its row in `security_detectors` judges. What it finds and how far it has come are committed together.
 */
import { eq } from 'drizzle-orm';
import { setTimeout as pause } from 'node:timers/promises';

import { performAsSystem, type Recorder, type SystemAct } from '../audit/record.ts';
import { SEALED_CHANNEL } from '../audit/seal.ts';
import type { Database } from '../platform/db.ts';
import { type EventBus, postgresBus } from '../platform/eventBus.ts';
import { eventsAt, headOf, placesFrom } from '../feed/order.ts';
import { type EffectiveSettings, settingsOf } from '../tenants/tables.ts';
import { isJudged, judge } from './detections.ts';
import { securityDetectors } from './tables.ts';

export interface Detector {
  /** How many sealed records had not been judged at the last look, by whichever process. */
  lag(): bigint;
  /** Resolves when the batch under way is done. */
  stop(): Promise<void>;
}

const BATCH_MAX = 200;
/** Between two looks, however often it is notified: what is sealed meanwhile shares a batch. */
const GAP_MS = 100;
/** What a lost notification may cost, or the death of the process that was judging. */
const POLL_MS = 1_000;
const BACKOFF_MS = 50;
const BACKOFF_MS_MAX = 10_000;

const SIGN_IN = eq(securityDetectors.name, 'sign-in');

/** Starts detecting. An error is logged and the records are tried again, fewer at a time: none is passed over. */
export function openDetector(
  recorder: Recorder,
  bus: EventBus = postgresBus(recorder.db, SEALED_CHANNEL),
): Detector {
  const { db, services } = recorder;
  const stopping = new AbortController();
  let woken = new AbortController();
  let lag = 0n;
  const listening = bus.listen(wake, wake);
  const running = run();
  return {
    lag: () => lag,
    async stop() {
      stopping.abort();
      wake();
      await running;
      await (
        await listening
      )();
    },
  };

  function wake() {
    woken.abort();
  }

  async function run() {
    for (let failures = 0; !stopping.signal.aborted;) {
      woken = new AbortController();
      try {
        const more = await look(Math.ceil(BATCH_MAX / 2 ** failures));
        failures = 0;
        if (!more) await rest(POLL_MS, woken.signal);
        await rest(GAP_MS, stopping.signal);
      } catch (error) {
        services.log.error({ err: error, lag: String(lag) }, 'Detection failed; it is tried again.');
        await rest(Math.min(BACKOFF_MS * 2 ** failures++, BACKOFF_MS_MAX), stopping.signal);
      }
    }
  }

  /** Judges the next records. False when there is no more, or another process is at it. */
  async function look(max: number): Promise<boolean> {
    // A look writes nothing, not even a lock, so an idle database stays idle.
    const head = await db.withReadTx('PLATFORM', async (tx) => {
      const [[detector], { pos }] = await Promise.all([
        tx.select().from(securityDetectors).where(SIGN_IN),
        headOf(tx, undefined),
      ]);
      lag = pos - detector!.pos;
      return pos;
    });
    if (lag <= 0n) return false;
    const pos = await performAsSystem(recorder, 'detection', (act) => judgeBatch(act, max));
    if (pos === undefined) return false;
    lag = head > pos ? head - pos : 0n;
    return true;
  }
}

/** Lets everything that is sealed by now go unjudged: nobody attacked where a log was made up. */
export async function passOver(db: Database): Promise<void> {
  await db.withTx('PLATFORM', async (tx) => {
    const { pos } = await headOf(tx, undefined);
    await tx.update(securityDetectors).set({ pos }).where(SIGN_IN);
  });
}

/** Judges the next batch and returns the position after it; undefined while another process does. */
async function judgeBatch(act: SystemAct<'detection'>, max: number): Promise<bigint | undefined> {
  const { tx } = act;
  const [detector] = await tx
    .select()
    .from(securityDetectors)
    .where(SIGN_IN)
    .for('update', { skipLocked: true });
  if (!detector) return undefined;
  const places = await placesFrom(tx, undefined, detector.pos, max);
  const settings = new Map<string, EffectiveSettings>();
  for (const { row } of await eventsAt(tx, places)) {
    // Retention may have dropped it.
    if (!row || !isJudged(row)) continue;
    const known = settings.get(row.tenantId) ?? (await settingsOf(tx, row.tenantId));
    settings.set(row.tenantId, known);
    await judge(act, row, known);
  }
  const pos = detector.pos + BigInt(places.length);
  await tx.update(securityDetectors).set({ pos }).where(SIGN_IN);
  return pos;
}

async function rest(ms: number, signal: AbortSignal): Promise<void> {
  await pause(ms, undefined, { signal }).catch(() => {});
}
