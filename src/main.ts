import { openLog } from './platform/log.ts';
import { readSettings, SettingsError } from './platform/settings.ts';
import { type Server, startServer } from './server.ts';

/** A wrong configuration, as distinct from a failure (1). */
const EXIT_MISCONFIGURED = 2;

async function main(): Promise<void> {
  const settings = readSettings(process.env);
  const log = openLog({ level: settings.logLevel, pretty: process.stdout.isTTY });
  const server = await startServer(settings, log);
  announce(server);

  let stopping = false;
  const stop = (signal: NodeJS.Signals) => {
    if (stopping) return;
    stopping = true;
    log.info({ signal }, 'stopping');
    void server.stop().then(() => process.exit(0));
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
}

function announce({ url, firstAdministrator, demo }: Server): void {
  console.log(
    [
      '',
      `  Custos is ready.   Explorer   ${url}/graphiql`,
      `                     GraphQL    ${url}/graphql`,
      ...(firstAdministrator
        ? [
            `  Sign in with       ${firstAdministrator.email}   ${firstAdministrator.password}   (shown only this once)`,
          ]
        : []),
      ...(demo ? [`  or, in a tenant    ${demo.emails.join(', ')}   ${demo.password}`] : []),
      '',
    ].join('\n'),
  );
}

main().catch((cause: unknown) => {
  const misconfigured = cause instanceof SettingsError;
  console.error(misconfigured ? cause.message : cause);
  process.exit(misconfigured ? EXIT_MISCONFIGURED : 1);
});
