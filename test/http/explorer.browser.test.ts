import { existsSync } from 'node:fs';
import { type Browser, chromium } from 'playwright-core';
import { expect, onTestFinished, test } from 'vitest';

import { PASSWORD, world } from '../world/server.ts';

const CHROMIUM = '/usr/bin/chromium';
/** Without them Chromium calls home, which counts as a request that leaves the origin. */
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'].concat(
  ['background-networking', 'component-update', 'sync'].map((feature) => `--disable-${feature}`),
);
// On a machine of one's own the browser may be absent; where CI is set it may not.
const browserless = !existsSync(CHROMIUM) && process.env['CI'] === undefined;

async function browser(): Promise<Browser> {
  const launched = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
  onTestFinished(() => launched.close());
  return launched;
}

test.skipIf(browserless)(
  'in a browser: sign in, read the log, see a failed login arrive, and no request leaves the origin',
  { timeout: 120_000 },
  async () => {
    const here = await world();
    const { admin } = await here.tenant();
    const page = await (await browser()).newPage({ viewport: { width: 1280, height: 800 } });
    const foreign: string[] = [];
    const faults: string[] = [];
    page.on('request', (request) => {
      if (!/^(data|blob):/.test(request.url()) && new URL(request.url()).origin !== here.url)
        foreign.push(request.url());
    });
    page.on('websocket', (socket) => {
      if (new URL(socket.url()).host !== new URL(here.url).host) foreign.push(socket.url());
    });
    page.on('pageerror', (error) => faults.push(String(error)));
    page.on('console', (message) => {
      if (message.type() === 'error') faults.push(message.text());
    });

    await page.goto(`${here.url}/graphiql`);
    await page.getByTestId('session-email').fill(admin.email);
    await page.getByTestId('session-password').fill(PASSWORD);
    await page.getByTestId('session-sign-in').click();
    await page.getByTestId('session-person').waitFor();

    await page.getByRole('button', { name: /Execute query/ }).click();
    // The editor writes its spaces as ones that do not break.
    const answer = async () =>
      (await page.locator('.graphiql-response').textContent())?.replaceAll('\u00a0', ' ');
    await expect.poll(answer).toContain('"Admin of Acme"');
    expect(await answer()).toContain('"LOGIN"');

    await page.getByRole('button', { name: 'Show Live feed' }).click();
    await page.getByTestId('live-feed-failed-logins').click();
    // Its first step is a beat that says where the stream stands: from then on nothing is missed.
    await page.getByTestId('live-feed-stream').getByText('caught up to').waitFor();
    await here.signIn(admin.email, 'not my password');
    const event = page.getByTestId('live-feed-event');
    await event.waitFor();

    expect(await event.count()).toBe(1);
    expect(await event.textContent()).toContain(admin.email);
    expect(await event.textContent()).toContain('INVALID_CREDENTIALS');
    expect(foreign).toEqual([]);
    expect(faults).toEqual([]);
  },
);
