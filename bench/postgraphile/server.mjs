// PostGraphile over the log, on the address that it prints. DATABASE_URL: as the application logs in. Who calls says in a header
// which tenant it is: looking up a session is left out.
import { createServer } from 'node:http';
import { grafserv } from 'postgraphile/grafserv/node';
import { makePgService } from 'postgraphile/adaptors/pg';
import { postgraphile } from 'postgraphile';
import { PostGraphileAmberPreset } from 'postgraphile/presets/amber';

const instance = postgraphile({
  extends: [PostGraphileAmberPreset],
  pgServices: [
    makePgService({
      connectionString: process.env.DATABASE_URL,
      schemas: ['public'],
      pgSettings: () => ({ role: 'custos_app' }),
    }),
  ],
  grafast: {
    explain: false,
    context: ({ node }) => ({
      pgSettings: {
        role: 'custos_app',
        'app.scope': 'tenant',
        'app.tenant': node?.req.headers['x-tenant'],
      },
    }),
  },
  grafserv: { watch: false },
});
const server = createServer();
const serving = instance.createServ(grafserv);
await serving.addTo(server);
server.listen(0, '127.0.0.1', () => process.send?.({ url: `http://127.0.0.1:${server.address().port}` }));
process.once('message', () => process.exit(0));
