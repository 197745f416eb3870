import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { runChaos } from './run.js';

it('keeps every invariant while server, workers and supervisor are killed under load, in a short sample (A2)', async () => {
  const outDir = mkdtempSync(join(tmpdir(), 'wherry-chaos-'));
  const { violations, figures } = await runChaos({
    seed: 1,
    durationMs: 12_000,
    rate: 30,
    inFlight: 150,
    everyMs: [700, 2_000],
    hasStreams: false,
    hasWebhooks: false,
    outDir,
    say: () => {},
  });
  // Kept when something is wrong: it holds the history.
  expect(violations, `history: ${outDir}`).toEqual([]);
  expect(figures['acknowledged']).toBeGreaterThan(50);
  expect(figures['kill-server']).toBeGreaterThan(1);
  rmSync(outDir, { recursive: true });
}, 120_000);
