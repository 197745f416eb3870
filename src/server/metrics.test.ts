import { describe, expect, it } from 'vitest';
import { createMetrics, routeOf } from './metrics.js';

const nothing = async () => ({ endpoints: [], registry: { blobs: 0, bytes: 0 }, now: 0 });

describe('metrics', () => {
  it.each([
    ['/v2/echo/runsync?wait=5', 'runsync'],
    ['/v2/echo/openai/v1/models', 'openai'],
    ['/v2/echo/run', 'run'],
    ['/v2/', 'registry'],
    ['/v2/echo/manifests/1.0', 'registry'],
    ['/v2/anything/you/like', 'registry'],
    ['/api/v1/status', 'api'],
    ['/metrics', 'metrics'],
    ['/healthz', 'healthz'],
    ['/', 'other'],
    ['/.env?x=/v2/echo/run', 'other'],
  ])('count %s as %s: a path makes no series of its own', (url, route) => {
    expect(routeOf(url)).toBe(route);
  });

  it('of an endpoint that is gone are gone with the next scrape, also when they come late', async () => {
    const { meter, scrape } = createMetrics({ version: '1' });
    meter.recordTake('endpoint-x', 5);
    meter.recordReady('endpoint-x', 'thaw', 5);
    meter.recordColdJob('endpoint-x', 'pull');
    meter.recordPull('endpoint-x', { durationMs: 5, bytes: 7 });
    meter.recordWebhook('endpoint-x', 'FAILED');
    meter.recordPrepare('endpoint-x', 5);
    expect(await scrape(nothing)).not.toContain('endpoint-x');
    meter.recordEnd('endpoint-x', 'lost');
    expect(await scrape(nothing)).not.toContain('endpoint-x');
  });
});
