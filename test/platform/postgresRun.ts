// A process that uses the embedded server, for the tests that kill one: `postgresRun.ts <dataDir>`.
// It says where the server is, ignores Ctrl-C as a process that drains does, and leaves when its input ends.
import { once } from 'node:events';
import { pino } from 'pino';
import { startPostgres } from '../../src/platform/postgres.ts';

const [dataDir = ''] = process.argv.slice(2);
process.on('SIGINT', () => undefined);
const server = await startPostgres({ dataDir, log: pino({ level: 'warn' }, pino.destination(2)) });
process.stdout.write(`${JSON.stringify({ adminUrl: server.adminUrl(), appUrl: server.appUrl() })}\n`);
process.stdin.resume();
await once(process.stdin, 'end');
await server.stop();
