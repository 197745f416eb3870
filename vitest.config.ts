import { defineConfig } from 'vitest/config';

const limits = { testTimeout: 60_000, hookTimeout: 60_000, teardownTimeout: 20_000 };

export default defineConfig({
  test: {
    projects: [
      { test: { ...limits, name: 'unit', include: ['src/**/*.test.ts'] } },
      { test: { ...limits, name: 'system', include: ['test/**/*.test.ts'], fileParallelism: false } },
    ],
  },
});
