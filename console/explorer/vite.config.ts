import { defineConfig } from 'vite';
import { precompress } from '../precompress.ts';

export default defineConfig({
  base: '/graphiql/',
  build: {
    outDir: '../dist/explorer',
    emptyOutDir: true,
    target: 'es2023',
    reportCompressedSize: false,
    // Monaco is one piece of 4 MB.
    chunkSizeWarningLimit: 5_000,
    rolldownOptions: {
      // "use client" means nothing here, and framer-motion says it in fifty files.
      onwarn: (warning, warn) => {
        if (warning.code !== 'MODULE_LEVEL_DIRECTIVE') warn(warning);
      },
    },
  },
  // The workers import modules of their own; the default, IIFE, cannot be split.
  worker: { format: 'es' },
  // Two copies of graphql would not accept each other's schemas.
  resolve: { dedupe: ['graphql', 'react', 'react-dom'] },
  plugins: [precompress()],
  server: { proxy: { '/graphql': { target: 'http://127.0.0.1:4000', ws: true } } },
});
