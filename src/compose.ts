import { randomBytes } from 'node:crypto';
import { chmod, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pino from 'pino';
import { type Clock, openClock } from './base/clock.js';
import { usingDirectory } from './base/directory.js';
import { WherryError } from './base/errors.js';
import { FAULT_POINTS, type FaultPoint, type Faults, noFaults } from './base/faults.js';
import { createSecret, createUuid } from './base/ids.js';
import type { Log } from './base/log.js';
import { createSeal, SEAL_KEY_BYTES, type Seal } from './base/seal.js';
import { readCapacity } from './compose-capacity.js';
import { createDocker, createWorkerListener, readRuntimeSettings } from './compose-docker.js';
import { createModels } from './compose-models.js';
import { isSwitchedOn, openRemoteRegistry, readMirrors, readRegistryRules } from './compose-registry.js';
import {
  type Environment,
  keyFileOf,
  packageRoot,
  readFrozenMemory,
  readList,
  readPort,
  readSwitch,
  readText,
  type ServerFile,
} from './compose-settings.js';
import { JOB_VERBS } from './domain/endpoint.js';
import { formatRelease } from './domain/release.js';
import { createBoundEndpoints } from './engine/bound-endpoints.js';
import { createEngine } from './engine/create.js';
import { listKeptReleases, listUsedReleases } from './engine/kept-releases.js';
import { type ClockMove, followClock } from './engine/moved-clock.js';
import { createRuntimes, type Runtimes } from './engine/runtimes.js';
import { prepareStandby } from './engine/standby.js';
import { createTemplates } from './engine/templates.js';
import { createWebhookTargets } from './engine/webhook-target.js';
import type { ModelCache } from './models/cache.js';
import { architectureOf } from './oci/platform.js';
import { type Blobs, openBlobs } from './registry/blobs.js';
import type { RemotePlace } from './registry/client.js';
import { createRegistryHandler } from './registry/handler.js';
import { meterPulls } from './registry/meter-pulls.js';
import { createMirrors, noMirrors, originIn } from './registry/mirror.js';
import { createImages, type PinnedImages, RETAINED } from './registry/retain.js';
import type { Need } from './registry/storage.js';
import { createUpkeep, type RegistryRules, readOnly, type Upkeep } from './registry/upkeep.js';
import { createProcessRuntime } from './runtime/process.js';
import { createStoredCredentials } from './server/credentials.js';
import { createKeys } from './server/keys.js';
import { createMetrics } from './server/metrics.js';
import { createNamedCredentials } from './server/named-credentials.js';
import { createServer } from './server/server.js';
import { openSqliteStore } from './store/sqlite/store.js';
import type { RecordKind, RecordKinds, Store } from './store/store.js';

declare const __WHERRY_VERSION__: string;

export interface ServerOptions {
  readonly dataDir: string;
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  readonly environment: Environment;
}

export interface StartedServer {
  readonly url: string;
  /** Only at the first start of a data directory. */
  readonly adminKey: string | undefined;
  readonly keyFile: string;
  /** Said when the usual port was taken and another was chosen. */
  readonly notice: string | undefined;
}

export interface ComposedServer {
  start(): Promise<StartedServer>;
  /** Graceful; workers stay for the next server unless `stopWorkers`. */
  stop(options?: { readonly stopWorkers?: boolean }): Promise<void>;
}

const DEFAULT_PORT = 7070;
/** How long requests that arrived before the stop may take to be answered. */
const DRAIN_MS = 5_000;

/** Chooses drivers and wires the server. Throws DATA_LOCKED when another server owns the data directory: the store's file is its lock. Throws CONFIG_INVALID. */
export async function composeServer(options: ServerOptions): Promise<ComposedServer> {
  const { dataDir, environment } = options;
  const clock = openClock();
  await usingDirectory(dataDir, async () => {
    await mkdir(join(dataDir, 'run'), { recursive: true, mode: 0o700 });
    await chmod(dataDir, 0o700);
  });
  const log = openLog(environment);
  const faults = readFaults(environment);
  const webhookTargets = createWebhookTargets(readList(environment['WHERRY_WEBHOOK_ALLOW']));
  const metrics = createMetrics({ version: __WHERRY_VERSION__ });
  const seal = await openSeal(dataDir, environment['WHERRY_SECRET_KEY']);
  const store = await openSqliteStore({ file: join(dataDir, 'wherry.db'), faults, log });
  const { behindMs: clockBehindMs } = await followMovedClock(store, clock, log);
  const instanceId = await readInstanceId(store, clock.now());
  const rules = readRegistryRules(environment);
  const mirrored = readMirrors(environment);
  const isCopied = (repository: string) => originIn(mirrored, repository) !== undefined;
  const blobs = await openBlobs(join(dataDir, 'registry'), { needs: readNeeds(store), quotaBytes: rules.quotaBytes, isCopied });
  const upkeep = createUpkeep({ blobs, rules, log, now: clock.now });
  const stopping = new AbortController();
  let url = '';
  const credentials = createStoredCredentials({
    records: recordsOf(store, 'registry-credential'),
    seal,
    clock,
    logIn: async (host, tried) => {
      const client = await openRemoteRegistry(host, environment, { log, credentials: tried });
      await client.logIn().finally(() => client.close());
    },
  });
  const namedCredentials = createNamedCredentials({ records: recordsOf(store, 'named-credential'), seal, clock });
  const clientFor = async (place: RemotePlace, named?: string) => {
    const chosen = (named && (await namedCredentials.open(named))) || (await credentials.find(place));
    const client = await openRemoteRegistry(place.registry, environment, { log, credentials: chosen });
    return meterPulls(client, { record: metrics.recordRegistryPull, now: clock.now });
  };
  // Nothing new is copied in read-only mode; what is here is served.
  const mirrors = rules.isReadOnly
    ? noMirrors
    : createMirrors({ blobs, log, registries: mirrored, clientFor: (place) => clientFor(place) });
  const images = createImages({
    blobs,
    log,
    ownHosts: () => (url ? [new URL(url).host] : []),
    mirrors,
    architecture: architectureOf(process.arch),
    clientFor: async (place, named) => {
      if (rules.isReadOnly) throw readOnly(`the copy of an image of '${place.registry}'`);
      return clientFor(place, named);
    },
  });
  const processes = createProcessRuntime({
    dataDir,
    instanceId,
    images,
    log,
    clock,
    supervisorEntry: join(packageRoot(), 'dist', 'supervisor.js'),
    searchPath: environment['PATH'] ?? '/usr/local/bin:/usr/bin:/bin',
    forkServer: readSwitch(environment, 'WHERRY_FORK_SERVER') ? join(packageRoot(), 'dist', 'fork-server') : undefined,
  });
  const pullToken = createSecret();
  const chosen = readRuntimeSettings(environment);
  const listener = createWorkerListener({
    environment,
    listen: (address) => server.listenForWorkers(address),
    port: {
      read: async () => Number((await store.getRecord('setting', 'worker-port'))?.value ?? 0),
      write: (port) => store.putRecord('setting', 'worker-port', { value: String(port) }),
    },
  });
  const docker = chosen.engine
    ? createDocker({
        ...{ environment, engine: chosen.engine, dataDir, instanceId, images, log, clock, listener, pullToken },
        stopping: stopping.signal,
        url: () => url,
      })
    : undefined;
  const runtimes = createRuntimes(chosen.names.flatMap((name) => (name === 'process' ? processes : (docker ?? []))));
  const models = await createModels({ environment, dataDir, log, now: clock.now, signal: stopping.signal });
  const keys = createKeys({ records: recordsOf(store, 'key'), clock });
  const engine = createEngine({
    store,
    modelCache: models,
    runtimes,
    images: {
      ...images,
      platformOf: async (image) => {
        const { os, architecture } = await images.config(image);
        return `${os}/${architecture}`;
      },
    },
    platform: hostPlatform(),
    clock,
    clockBehindMs,
    log,
    faults,
    seal,
    webhookTargets,
    meter: metrics.meter,
    logsDir: join(dataDir, 'logs'),
    frozenMemoryBytes: readFrozenMemory(environment),
    workerUrl: async ({ runtime, endpointId }) => (docker?.name === runtime ? docker.urlFor(endpointId) : url),
    capacity: await readCapacity(environment),
    forgetEndpoint: keys.forgetEndpoint,
    sweepFiles: createFileSweep({ store, blobs, images, models, runtimes, upkeep, rules, log, signal: stopping.signal }),
  });
  const isRepositoryAllowed = (name: string) =>
    !(JOB_VERBS as readonly string[]).includes(name.split('/')[1] ?? '') && !name.startsWith(RETAINED);
  const registry = createRegistryHandler({ blobs, log, isRepositoryAllowed, isReadOnly: rules.isReadOnly, mirrors });
  const isMetricsOpen = isSwitchedOn(environment, 'WHERRY_METRICS_OPEN');
  const version = __WHERRY_VERSION__;
  const templates = createTemplates({ store, clock });
  const boundEndpoints = createBoundEndpoints({ engine, templates });
  const server = createServer({
    ...{ engine, keys, registry, pullToken, upkeep, credentials, namedCredentials, templates, boundEndpoints },
    ...{ log, clock, version, metrics, isMetricsOpen },
  });

  return {
    async start() {
      const adminKey = await keys.ensureAdminKey();
      const keyFile = keyFileOf(dataDir);
      if (adminKey) await writePrivate(keyFile, `${adminKey}\n`);
      const listening = await listen(server, store, options);
      url = `http://${addressOf(listening.host)}:${listening.port}`;
      if (docker) await listener.start();
      await engine.start();
      await writePrivate(join(dataDir, 'server.json'), JSON.stringify({ url, pid: process.pid } satisfies ServerFile));
      return { url, adminKey, keyFile, notice: listening.notice };
    },
    async stop({ stopWorkers = false } = {}) {
      stopping.abort();
      await server.drain(DRAIN_MS);
      if (stopWorkers) await engine.stopWorkers(5_000);
      await engine.stop();
      await server.close();
      for (const runtime of runtimes.all) await runtime.stop();
      await models.close();
      await store.close();
      await rm(join(dataDir, 'server.json'), { force: true });
    },
  };
}

/** Where this machine reaches a server that listens there: all addresses are no address. */
function addressOf(host: string): string {
  return { '0.0.0.0': '127.0.0.1', '[::]': '[::1]' }[host] ?? host;
}

type Listening = { readonly host: string; readonly port: number; readonly notice: string | undefined };

/** The port is chosen once per data directory; only a new one moves on to the next free port. */
async function listen(server: ReturnType<typeof createServer>, store: Store, options: ServerOptions): Promise<Listening> {
  const host = options.host ?? options.environment['WHERRY_HOST'] ?? '127.0.0.1';
  const asked = options.port ?? readPort(options.environment, 'WHERRY_PORT');
  if (asked !== undefined) return { ...(await server.listen({ host, port: asked })), notice: undefined };
  const chosen = Number((await store.getRecord('setting', 'port'))?.value ?? 0);
  if (chosen) return { ...(await server.listen({ host, port: chosen })), notice: undefined };
  for (let port = DEFAULT_PORT; ; port++) {
    try {
      const listening = await server.listen({ host, port });
      await store.putRecord('setting', 'port', { value: String(port) });
      const notice = port === DEFAULT_PORT ? undefined : `port ${DEFAULT_PORT} is taken, this data directory uses ${port}`;
      return { ...listening, notice };
    } catch (thrown) {
      if (!(thrown instanceof WherryError && thrown.code === 'PORT_TAKEN') || port >= DEFAULT_PORT + 100) throw thrown;
    }
  }
}

/** What releases need: those that are kept. */
function readNeeds(store: Store) {
  return async (): Promise<readonly Need[]> =>
    (await listKeptReleases(store)).map(({ endpointId, number, image: { repository, digest } }) => ({
      by: `release ${formatRelease(number)} of '${endpointId}'`,
      repository,
      digest,
    }));
}

type Swept = {
  readonly store: Store;
  readonly blobs: Pick<Blobs, 'removeOldUploads'>;
  readonly images: Pick<PinnedImages, 'removeRetained'>;
  readonly models: Pick<ModelCache, 'forget'>;
  readonly runtimes: Runtimes;
  readonly upkeep: Pick<Upkeep, 'collectWhenDue'>;
  readonly rules: Pick<RegistryRules, 'isReadOnly'>;
  readonly log: Log;
  /** Aborts when the server stops. */
  readonly signal: AbortSignal;
};

/** Frees uploads that ended without an end, copies of removed endpoints, models and unpacked images that no release in use has (those of endpoints with extra workers are made ready anew), and, when it is time, what nothing in the registry needs. */
function createFileSweep({ store, blobs, images, models, runtimes, upkeep, rules, log, signal }: Swept) {
  return async (isBeingMade: (endpointId: string) => boolean): Promise<void> => {
    const used = await listUsedReleases(store);
    const inUse = new Set(used.map(({ image }) => image.digest));
    await models.forget(used.map(({ spec }) => spec.models ?? []));
    for (const runtime of runtimes.all) await runtime.forgetImages(inUse);
    await prepareStandby({ store, runtimes, log });
    if (rules.isReadOnly) return;
    await blobs.removeOldUploads();
    // Asked in this order: one that is made goes from there into the store.
    await images.removeRetained(async (id) => isBeingMade(id) || (await store.getEndpoint(id)) !== undefined);
    await upkeep.collectWhenDue(signal);
  };
}

/** The records of one kind. */
function recordsOf<K extends RecordKind>(store: Store, kind: K) {
  return {
    get: (id: string) => store.getRecord(kind, id),
    list: async () => (await store.listRecords(kind)).map(({ value }) => value),
    put: (id: string, value: RecordKinds[K]) => store.putRecord(kind, id, value),
    remove: (id: string) => store.removeRecord(kind, id),
  };
}

async function readInstanceId(store: Store, now: number): Promise<string> {
  const known = await store.getRecord('setting', 'instance');
  if (known) return known.value;
  const value = createUuid(now);
  await store.putRecord('setting', 'instance', { value });
  return value;
}

/** Where a boot of the machine has a name (Linux); elsewhere a clock that was set while no server ran is believed. */
const BOOT_ID = '/proc/sys/kernel/random/boot_id';

async function followMovedClock(store: Store, clock: Clock, log: Log): Promise<ClockMove> {
  const bootId = (await readText(BOOT_ID))?.trim();
  const move = await followClock(store, clock, bootId);
  if (move.byMs !== 0) log.warn({ byMs: move.byMs }, 'the wall clock was set while no server looked; stored moments were moved with it');
  return move;
}

/** Secrets are sealed with the key of WHERRY_SECRET_KEY, else of a file that the first start makes, readable by its owner only. */
async function openSeal(dataDir: string, given: string | undefined): Promise<Seal> {
  const file = join(dataDir, 'secret.key');
  let text = given || (await readText(file))?.trim();
  if (!text) {
    text = randomBytes(SEAL_KEY_BYTES).toString('base64');
    await writePrivate(file, `${text}\n`);
  }
  const key = Buffer.from(text, 'base64');
  if (key.length === SEAL_KEY_BYTES) return createSeal(key);
  throw new WherryError(
    'CONFIG_INVALID',
    `the key in ${given ? 'WHERRY_SECRET_KEY' : `'${file}'`} is not ${SEAL_KEY_BYTES} bytes as base64`,
    {
      hint: 'put back the key this data directory was used with; `openssl rand -base64 32` makes one for a new directory',
    },
  );
}

/** `WHERRY_FAULT=claim.after-commit` (optionally `:3` for the third time) ends the process there; the test harness sets it. */
function readFaults(environment: Environment): Faults {
  const [point, count = '1'] = (environment['WHERRY_FAULT'] ?? '').split(':');
  if (!(FAULT_POINTS as readonly string[]).includes(point ?? '')) return noFaults;
  let left = Number(count);
  return (at: FaultPoint) => {
    if (at === point && --left === 0) process.kill(process.pid, 'SIGKILL');
  };
}

/** Images name processors otherwise than Node does. */
function hostPlatform(): string {
  const architectures: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386' };
  return `${process.platform}/${architectures[process.arch] ?? process.arch}`;
}

function openLog(environment: Environment): Log {
  return pino({ level: environment['WHERRY_LOG'] ?? 'warn' }, pino.destination({ dest: 2, sync: true }));
}

async function writePrivate(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text, { mode: 0o600 });
  await rename(`${file}.new`, file);
}
