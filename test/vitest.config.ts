import { defineConfig } from 'vitest/config';

export default defineConfig({
  // Node resolves `graphql` to CommonJS for its dependents and vitest to ESM: two copies, and no instanceof holds.
  resolve: { alias: [{ find: /^graphql$/, replacement: 'graphql/index.js' }] },
  test: {
    root: import.meta.dirname,
    include: ['**/*.test.ts'],
    globalSetup: ['world/cluster.ts'],
    pool: 'forks',
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
