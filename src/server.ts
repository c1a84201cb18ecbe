/**
 * The composition root: opens every part in order and stops them in reverse. What a part needs it is given here; nothing but
 * settings.ts reads the environment.
 */
import type { Logger } from 'pino';

import { openExports } from './archive/exportJob.ts';
import { openRetention } from './archive/retentionJob.ts';
import { openArchiveStore } from './archive/store.ts';
import { openCheckpoints } from './audit/checkpoints.ts';
import { openReadsDigest } from './audit/reads.ts';
import type { Recorded } from './audit/record.ts';
import { openSealer, SEALED_CHANNEL } from './audit/seal.ts';
import { openDeliverer } from './delivery/deliverer.ts';
import { openIngest } from './delivery/ingest.ts';
import { openFeed } from './feed/follow.ts';
import { type FirstStart, firstStart } from './firstStart.ts';
import { openFoundation, openParts, type ThrottleSizes } from './foundation.ts';
import type { House } from './graphql/context.ts';
import { openSchema } from './graphql/schema.ts';
import { readTrustedDocuments } from './graphql/trustedDocuments.ts';
import { openHealth } from './http/health.ts';
import { listen } from './http/listen.ts';
import { openMetrics } from './http/metrics.ts';
import { natsBus } from './platform/eventBus.ts';
import type { Settings } from './platform/settings.ts';
import { openDetector } from './security/detector.ts';
import { openVerifier } from './security/verifier.ts';

/** A running server. */
export interface Server {
  /** Where it listens, such as `http://127.0.0.1:4000`. */
  readonly url: string;
  readonly house: House;
  /** What the first start of a database made; undefined at every later one. */
  readonly firstStart: FirstStart | undefined;
  /** Drains and stops everything, the embedded database included. */
  stop(): Promise<void>;
}

export interface StartOptions {
  /** Calls the start off, which then rejects. */
  readonly signal?: AbortSignal | undefined;
  /** Told how much of the demo data is made, from 0 to 1. */
  readonly onProgress?: ((done: number) => void) | undefined;
  readonly throttle?: ThrottleSizes | undefined;
}

/**
 * Starts everything. What was started is stopped again when a later part fails. Rejects with a SettingsError when the
 * environment is at fault.
 */
export async function startServer(
  settings: Settings,
  log: Logger,
  { signal, onProgress, throttle }: StartOptions = {},
): Promise<Server> {
  const parts = openParts(log);
  const { opened, stop } = parts;
  try {
    // Without PUBLIC_URL it is known when the server listens; tokens must not depend on a port that changes.
    let publicUrl = settings.publicUrl ?? `http://localhost:${settings.port}`;
    const foundation = await openFoundation({
      settings,
      log,
      parts,
      signal,
      throttle,
      publicUrl: () => publicUrl,
    });
    const { db, keys, services } = foundation;
    const { clock } = services;
    const busUrl = settings.eventBusUrl;
    const bus = busUrl ? opened(await natsBus({ url: busUrl, db, channel: SEALED_CHANNEL, log })) : undefined;
    const sealer = opened(openSealer({ db, clock, log, bus }));
    opened(openCheckpoints({ db, clock, log, signer: services.signer, sealer }));
    const feed = opened(openFeed({ db, log, bus }));
    const { passwords } = services;
    const metrics = openMetrics({
      db,
      sealer,
      feed,
      passwords,
      detector: { lag: () => detector.lag() },
      token: settings.metricsToken,
    });
    const health = openHealth({ db, sealer, months: services.months });
    const recorded = (what: Recorded) => {
      sealer.nudge();
      metrics.recorded(what);
    };
    const sealerLagMs = () => sealer.progress().lagMs;
    const house: House = { db, services, feed, recorded, sealerLagMs };
    const detector = opened(openDetector(house, bus));
    opened(openVerifier(house));
    await openExports(house);
    await openReadsDigest(house);
    await openRetention({ ...house, store: openArchiveStore(settings) });
    opened(await openDeliverer(house, bus));
    await openIngest(house);

    const schema = openSchema();
    const { trustedDocuments } = settings;
    const documents = trustedDocuments ? await readTrustedDocuments(trustedDocuments) : undefined;
    // Before the first start makes anything: where it cannot listen, it has nothing to tell and nobody to tell it to.
    const listening = opened(
      await listen({
        house,
        schema: metrics.watched(schema),
        host: settings.host,
        port: settings.port,
        trustedProxies: settings.trustedProxies,
        publicUrl: settings.publicUrl,
        corsOrigins: settings.corsOrigins,
        introspection: settings.introspection,
        documents,
        alsoServe: [metrics, health],
      }),
    );
    opened({ stop: async () => health.drain() });
    publicUrl = settings.publicUrl ?? listening.url;
    const first = await firstStart({ house, schema, keys, settings, signal, onProgress });
    signal?.throwIfAborted();
    return { url: listening.url, house, firstStart: first, stop };
  } catch (cause) {
    await stop();
    throw cause;
  }
}
