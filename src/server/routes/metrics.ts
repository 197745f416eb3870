import type { Engine } from '../../engine/engine.js';
import type { Upkeep } from '../../registry/upkeep.js';
import { authenticate } from '../auth.js';
import { type Exchange, sendJson } from '../exchange.js';
import type { Keys } from '../keys.js';
import type { Metrics } from '../metrics.js';

interface MetricsRoute {
  readonly engine: Pick<Engine, 'measure'>;
  readonly upkeep: Pick<Upkeep, 'measure'>;
  readonly keys: Keys;
  readonly metrics: Metrics;
  /** Answers without a key. */
  readonly isOpen: boolean;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** How old the size of the registry may be: measuring looks at every file. */
const REGISTRY_AGE_MS = 60_000;

/** `GET /metrics` for Prometheus: for admin and read-only keys, or for everybody where the operator says so. */
export function createMetricsRoute({ engine, upkeep, keys, metrics, isOpen, now }: MetricsRoute) {
  let measured = { blobs: 0, bytes: 0 };
  let measuredAt = Number.NEGATIVE_INFINITY;

  const measureRegistry = async () => {
    if (now() - measuredAt < REGISTRY_AGE_MS) return measured;
    measuredAt = now();
    const { blobs, bytes } = await upkeep.measure();
    measured = { blobs, bytes };
    return measured;
  };

  return async (exchange: Exchange): Promise<void> => {
    exchange.request.resume();
    if (exchange.method !== 'GET') return sendJson(exchange, 405, '{"error":"use GET for /metrics"}', { allow: 'GET' });
    const key = isOpen ? undefined : await authenticate(keys, exchange.request.headers);
    if (!isOpen && !key) {
      const hint = '{"error":"send an admin or read-only key as Bearer, or start the server with WHERRY_METRICS_OPEN=1"}';
      return sendJson(exchange, 401, hint, { 'www-authenticate': 'Bearer realm="wherry"' });
    }
    if (key?.scope === 'endpoint')
      return sendJson(exchange, 403, '{"error":"metrics are of all endpoints: use an admin or read-only key"}');
    const text = await metrics.scrape(async () => ({ endpoints: await engine.measure(), registry: await measureRegistry(), now: now() }));
    const { response } = exchange;
    response.writeHead(200, {
      'content-type': metrics.contentType,
      'content-length': Buffer.byteLength(text),
      'cache-control': 'no-store',
    });
    response.end(text);
  };
}
