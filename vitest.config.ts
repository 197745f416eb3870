import { defineConfig } from 'vitest/config';

const limits = { testTimeout: 60_000, hookTimeout: 60_000, teardownTimeout: 20_000 };
/** What measures the machine, fills it up or builds the product anew runs by itself; the others mostly wait, so that several share two cores. */
const ALONE = ['test/chaos/**/*.test.ts', 'test/cli/readme.test.ts', 'test/journey/build-memory.test.ts', 'test/journey/disk-full.test.ts'];

export default defineConfig({
  test: {
    projects: [
      { test: { ...limits, name: 'unit', include: ['src/**/*.test.ts'], sequence: { groupOrder: 0 } } },
      {
        test: { ...limits, name: 'system', include: ['test/**/*.test.ts'], exclude: ALONE, maxWorkers: 3, sequence: { groupOrder: 1 } },
      },
      { test: { ...limits, name: 'alone', include: ALONE, maxWorkers: 1, sequence: { groupOrder: 2 } } },
    ],
  },
});
