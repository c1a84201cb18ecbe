import { defineConfig } from 'drizzle-kit';

export default defineConfig({
  dialect: 'postgresql',
  schema: [
    './src/tenants/tables.ts',
    './src/users/tables.ts',
    './src/auth/tables.ts',
    './src/audit/tables.ts',
    './src/security/tables.ts',
    './src/archive/tables.ts',
    './src/delivery/tables.ts',
  ],
  out: './drizzle',
  migrations: { prefix: 'index' },
});
