import { timingSafeEqual } from 'node:crypto';
import { createServer as createHttpServer, type Server as HttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Bag, type Member } from '../base/bag.js';
import type { Clock } from '../base/clock.js';
import { systemCodeOf, WherryError } from '../base/errors.js';
import { hashSecret } from '../base/ids.js';
import type { Log } from '../base/log.js';
import { JOB_VERBS } from '../domain/endpoint.js';
import type { BoundEndpoints } from '../engine/bound-endpoints.js';
import type { Engine } from '../engine/engine.js';
import type { Templates } from '../engine/templates.js';
import type { Upkeep } from '../registry/upkeep.js';
import { authenticate, readCredential } from './auth.js';
import type { StoredCredentials } from './credentials.js';
import { type Exchange, openExchange, sendJson } from './exchange.js';
import type { Keys } from './keys.js';
import type { Metrics } from './metrics.js';
import type { NamedCredentials } from './named-credentials.js';
import { createRates, type Rates } from './rates.js';
import { type Api, createApi } from './routes/api.js';
import { serveJobs } from './routes/jobs.js';
import { createMetricsRoute } from './routes/metrics.js';
import { serveWorkers, WORKER_VERBS } from './routes/workers.js';
import { limitStall } from './stall.js';

export interface ServerOptions {
  readonly engine: Engine;
  readonly keys: Keys;
  readonly registry: (
    request: IncomingMessage,
    response: ServerResponse,
    access: { readonly canPush: boolean; readonly isRuntime?: boolean },
  ) => Promise<void>;
  /** Opens the registry for pulls: what this process gives to its runtimes. */
  readonly pullToken: string;
  readonly upkeep: Upkeep;
  readonly credentials: StoredCredentials;
  readonly namedCredentials: NamedCredentials;
  readonly templates: Templates;
  readonly boundEndpoints: BoundEndpoints;
  readonly log: Log;
  readonly clock: Clock;
  readonly version: string;
  readonly metrics: Metrics;
  /** Metrics need no key. */
  readonly isMetricsOpen: boolean;
}

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface Server {
  /** Port 0 lets the system choose. Throws PORT_TAKEN. */
  listen(address: Address): Promise<Address>;
  /** A further listener that knows the routes of workers and nothing else; gives what ends it. Throws PORT_TAKEN. */
  listenForWorkers(address: Address): Promise<() => Promise<void>>;
  /** From now on submissions are refused with 503 and held answers are sent as they are; resolves when all are, or the grace is over. */
  drain(graceMs: number): Promise<void>;
  /** Ends held polls and streams, then all connections. */
  close(): Promise<void>;
}

/** Above the 15 s after which aiohttp drops an idle connection: the server must not be the first. */
const KEEP_ALIVE_MS = 60_000;
/** Bodies that come slower are cut. */
const BODY_PACE = { idleMs: 60_000, leastBytes: 4_096 };
/** A head has to be there in time, and is looked for so often. */
const TIMES = { keepAliveTimeout: KEEP_ALIVE_MS, headersTimeout: 30_000, connectionsCheckingInterval: 5_000 };
const VERBS: ReadonlySet<string> = new Set(JOB_VERBS);
/** What brings work: refused once the server stops. */
const SUBMISSIONS: ReadonlySet<string> = new Set(['run', 'runsync', 'retry', 'batch', 'openai']);

/** One port for everything: job API, worker routes, registry, management API. They are told apart by the shape of the path. */
export function createServer(options: ServerOptions): Server {
  let api: Api | undefined;
  const life: Life = { isStopping: false, open: new Bag(), rates: createRates(options.clock) };
  const { metrics, isMetricsOpen, clock } = options;
  const serveGraphql = createLazyDoor(options);
  const serveMetrics = createMetricsRoute({ isOpen: isMetricsOpen, now: clock.now, ...options });
  const http = createHttpServer({ ...TIMES, requestTimeout: 0 }, (request, response) => {
    limitStall(request, response, BODY_PACE);
    metrics.countResponse(response);
    const exchange = openExchange(request, response);
    if (exchange.path.startsWith('/v2/') || exchange.path === '/v2') serveV2(options, exchange, life);
    else if (exchange.path === '/metrics') answer(options.log, exchange, serveMetrics(exchange));
    else if (exchange.path === '/graphql') answer(options.log, exchange, serveGraphql(exchange));
    else if (api) api.serve(request, response);
    else sendJson(exchange, 503, '{"error":"the server is starting"}', { 'retry-after': '1' });
  });
  const workerListeners = new Set<HttpServer>();
  const closeListener = async (listener: HttpServer) => {
    workerListeners.delete(listener);
    const closed = new Promise<void>((resolve) => {
      listener.close(() => resolve());
    });
    listener.closeAllConnections();
    await closed;
  };
  return {
    async listenForWorkers(address) {
      const listener = createHttpServer({ ...TIMES, requestTimeout: 0 }, (request, response) => {
        limitStall(request, response, BODY_PACE);
        metrics.countResponse(response);
        serveWorkersOnly(options, openExchange(request, response));
      });
      await bind(listener, address);
      workerListeners.add(listener);
      return () => closeListener(listener);
    },
    async listen(address) {
      api ??= await createApi(options);
      await bind(http, address);
      const { address: host, port } = http.address() as AddressInfo;
      return { host: host.includes(':') ? `[${host}]` : host, port };
    },
    async drain(graceMs) {
      life.isStopping = true;
      const open = life.open.list();
      for (const { exchange } of open) exchange.endWait();
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, graceMs);
      });
      await Promise.race([Promise.all(open.map(({ served }) => served)), late]);
      clearTimeout(timer);
    },
    async close() {
      await Promise.all([...workerListeners].map(closeListener));
      // Also called back, with an error, when it never listened.
      const closed = new Promise<void>((resolve) => {
        http.close(() => resolve());
      });
      await api?.close();
      http.closeAllConnections();
      await closed;
    },
  };
}

/** The GraphQL engine is loaded by the first request for it: most servers never have one. */
function createLazyDoor(options: ServerOptions): (exchange: Exchange) => Promise<void> {
  let opened: Promise<(exchange: Exchange) => Promise<void>> | undefined;
  return async (exchange) => {
    opened ??= import('./doors/graphql.js').then(({ createGraphqlDoor }) => createGraphqlDoor(options));
    return (await opened)(exchange);
  };
}

/** `/v2/{endpoint}/{verb}…` is a job or worker route when the verb is one (decision 12); every other path is the registry's. */
function serveV2(options: ServerOptions, exchange: Exchange, life: Life): void {
  const [, , endpointId = '', verb = '', first = '', second = ''] = exchange.path.split('/');
  const served = !VERBS.has(verb)
    ? serveRegistry(options, exchange)
    : WORKER_VERBS.includes(verb)
      ? serveWorkers(options, exchange, { endpointId, verb, workerId: first, jobId: second })
      : serveWhileOpen(life, exchange, () => serveJobs({ rates: life.rates, ...options }, exchange, { endpointId, verb, id: first }), verb);
  answer(options.log, exchange, served);
}

/** What nobody expected is told to the log, and to the client only that it happened. */
function answer(log: Log, exchange: Exchange, served: Promise<void>): void {
  served.catch((cause: unknown) => {
    log.error({ err: cause, path: exchange.path }, 'a request failed');
    sendJson(exchange, 500, '{"error":"an unexpected error happened"}');
  });
}

/** What a worker may reach (decision 25): its own routes. There is no other answer, whoever asks with whatever key. */
function serveWorkersOnly(options: ServerOptions, exchange: Exchange): void {
  const [, version, endpointId = '', verb = '', workerId = '', jobId = ''] = exchange.path.split('/');
  if (version === 'v2' && WORKER_VERBS.includes(verb)) {
    // Never rejects.
    void serveWorkers(options, exchange, { endpointId, verb, workerId, jobId });
    return;
  }
  exchange.request.resume();
  sendJson(exchange, 404, '{"error":"only workers are served here"}');
}

interface Life {
  isStopping: boolean;
  /** Job requests that are not answered yet. */
  readonly open: Bag<OpenRequest>;
  readonly rates: Rates;
}

interface OpenRequest extends Member {
  readonly exchange: Exchange;
  readonly served: Promise<void>;
}

/** A job request of a server that may be stopping: it brings no new work then, and what is held is answered as it is. */
async function serveWhileOpen(life: Life, exchange: Exchange, serve: () => Promise<void>, verb: string): Promise<void> {
  if (life.isStopping) {
    if (exchange.method === 'POST' && SUBMISSIONS.has(verb)) {
      exchange.request.resume();
      return sendJson(exchange, 503, '{"error":"the server is stopping"}', { 'retry-after': '2' });
    }
    exchange.endWait();
  }
  const request: OpenRequest = { exchange, served: serve(), place: -1 };
  life.open.add(request);
  await request.served.finally(() => life.open.remove(request));
}

/** Admin keys pull and push; what runtimes were given pulls. */
async function serveRegistry({ keys, registry, pullToken }: ServerOptions, exchange: Exchange): Promise<void> {
  if (isSame(readCredential(exchange.request.headers) ?? '', pullToken))
    return registry(exchange.request, exchange.response, { canPush: false, isRuntime: true });
  const key = await authenticate(keys, exchange.request.headers);
  if (key?.scope === 'admin') return registry(exchange.request, exchange.response, { canPush: true });
  const body = { errors: [{ code: 'UNAUTHORIZED', message: 'log in with any user name and an admin key as password', detail: null }] };
  exchange.request.resume();
  sendJson(exchange, 401, JSON.stringify(body), {
    'www-authenticate': 'Basic realm="wherry"',
    'docker-distribution-api-version': 'registry/2.0',
  });
}

function isSame(given: string, wanted: string): boolean {
  return timingSafeEqual(Buffer.from(hashSecret(given), 'hex'), Buffer.from(hashSecret(wanted), 'hex'));
}

function bind(http: HttpServer, { host, port }: Address): Promise<void> {
  return new Promise((resolve, reject) => {
    const refuse = (thrown: Error) => {
      http.off('listening', accept);
      const code = systemCodeOf(thrown);
      const why = code === 'EADDRINUSE' ? 'another program has it' : thrown.message;
      reject(
        new WherryError('PORT_TAKEN', `cannot listen on ${host}:${port}: ${why}`, {
          hint: 'stop the other program, or choose a port with --port',
          cause: thrown,
        }),
      );
    };
    const accept = () => {
      http.off('error', refuse);
      resolve();
    };
    http.once('error', refuse);
    http.once('listening', accept);
    http.listen(port, host);
  });
}
