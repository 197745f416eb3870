import { describe, expect, it } from 'vitest';
import { DEFAULT_SETTINGS } from '../../domain/endpoint.js';
import { formatPlot } from './plot.js';
import { compareVariants, makeVariants } from './variants.js';

const SPEEDS = { startMs: 500, thawMs: 20, stopMs: 100 };
const requests = Array.from({ length: 500 }, (_, n) => ({ at: n * 50, runMs: 300 }));
const outcomes = compareVariants(makeVariants(DEFAULT_SETTINGS.scale, [{ max: 10 }, { keep: 'none' }]), requests, SPEEDS);

/** Names of the elements in their order; throws where one is not closed in its place. */
function readElements(document: string): string[] {
  const open: string[] = [];
  const names: string[] = [];
  for (const [, slash = '', name = '', closed = ''] of document.matchAll(
    /<(\/?)([a-z]+)(?:\s[a-z-]+="[^"<]*"|\s[a-zA-Z]+="[^"<]*")*\s*(\/?)>/g,
  )) {
    if (slash) expect(open.pop()).toBe(name);
    else {
      names.push(name);
      if (!closed) open.push(name);
    }
  }
  expect(open).toEqual([]);
  return names;
}

describe('the plot of a simulation', () => {
  it('is well-formed, with a line a variant for the queue and for the workers', () => {
    const plot = formatPlot('jobs of echo', outcomes);
    const names = readElements(plot);
    expect(names[0]).toBe('svg');
    expect(names.filter((name) => name === 'path')).toHaveLength(2 * outcomes.length);
    expect(plot.replace(/<[^>]*>/g, '')).not.toContain('<');
    for (const word of ['jobs of echo', 'current', 'max=10', 'keep=none', 'requests that wait']) expect(plot).toContain(word);
    expect(plot).not.toMatch(/NaN|undefined|Infinity/);
  });

  it('takes any name', () => {
    const plot = formatPlot(`<a href="x">&'\u0001`, outcomes);
    expect(plot).toContain('&lt;a href=&quot;x&quot;&gt;&amp;&apos;</title>');
    readElements(plot);
  });

  it('stays small however long the trace is', () => {
    const many = Array.from({ length: 20_000 }, (_, n) => ({ at: n * 400, runMs: 300 + (n % 7) * 100 }));
    const long = compareVariants(makeVariants(DEFAULT_SETTINGS.scale, []), many, SPEEDS);
    expect(formatPlot('long', long).length).toBeLessThan(200_000);
  });
});

describe('variants', () => {
  it('are the current settings and each change of them, served over the same time', () => {
    expect(outcomes.map(({ name }) => name)).toEqual(['current', 'max=10', 'keep=none']);
    for (const { metrics } of outcomes) expect(metrics).toMatchObject({ requests: 500, left: 0 });
    const [current, more] = outcomes;
    expect(more?.metrics.delayMs.p95).toBeLessThan(current?.metrics.delayMs.p95 ?? 0);
    expect(more?.metrics.workersPeak).toBeGreaterThan(current?.metrics.workersPeak ?? 0);
  });

  it('begin with their min workers', () => {
    const [warm] = compareVariants(makeVariants({ ...DEFAULT_SETTINGS.scale, min: 1 }, []), [{ at: 0, runMs: 10 }], SPEEDS);
    expect(warm?.metrics).toMatchObject({ coldStarts: 0, starts: 0, delayMs: { max: 0 } });
  });

  it('tell what a parked endpoint leaves', () => {
    const [parked] = compareVariants(makeVariants({ ...DEFAULT_SETTINGS.scale, max: 0 }, []), [{ at: 0, runMs: 10 }], SPEEDS);
    expect(parked?.metrics).toMatchObject({ requests: 1, left: 1, starts: 0, workersPeak: 0 });
  });
});
