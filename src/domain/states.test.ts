import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { JOB_EDGES } from './job.js';
import { ROLLOUT_EDGES } from './release.js';
import { WORKER_EDGES } from './worker.js';

const page = readFileSync(new URL('../../docs/states.md', import.meta.url), 'utf8');

function drawnEdges(section: string): string[] {
  const drawing = page.split(`## ${section}`)[1]?.split('```')[1] ?? '';
  return [...drawing.matchAll(/^ {2}([A-Z_]+) --> ([A-Z_]+)$/gm)].map(([, from, to]) => `${from} ${to}`).sort();
}

const edgesOf = (table: Readonly<Record<string, readonly string[]>>) =>
  Object.entries(table)
    .flatMap(([from, to]) => to.map((state) => `${from} ${state}`))
    .sort();

describe('state machines', () => {
  it.each([
    ['Jobs', JOB_EDGES],
    ['Workers', WORKER_EDGES],
    ['Rollouts', ROLLOUT_EDGES],
  ])('are drawn in docs/states.md as they are in the code: %s', (section, table) => {
    expect(drawnEdges(section)).toEqual(edgesOf(table));
  });
});
