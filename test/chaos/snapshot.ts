import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { Stage } from '../stage.js';
import { startedProcesses, supervisorPids } from './blows.js';
import type { Snapshot } from './history.js';

type Listed = Readonly<Record<string, unknown>>;

async function get(stage: Stage, path: string): Promise<Listed | undefined> {
  const { status, json } = await stage.call(path);
  return status === 200 ? (json as Listed) : undefined;
}

async function list(stage: Stage, path: string): Promise<readonly Listed[]> {
  return ((await get(stage, path))?.['items'] ?? []) as readonly Listed[];
}

/** The end of every job, some at a time. */
export async function readJobs(
  stage: Stage,
  jobs: readonly { readonly id: string; readonly endpoint: string }[],
): Promise<Snapshot['jobs']> {
  const found: Snapshot['jobs'][number][] = [];
  const left = jobs.values();
  const reader = async () => {
    for (const { id, endpoint } of left) {
      const job = await get(stage, `/api/v1/endpoints/${endpoint}/jobs/${id}`);
      const { status = 'MISSING', output, error, workerId, attempt, release } = job ?? {};
      found.push({
        id,
        endpoint,
        status: String(status),
        ...(output !== undefined && { output }),
        ...(error !== undefined && { error }),
        ...(typeof workerId === 'string' && { worker: workerId }),
        ...(typeof attempt === 'number' && { attempt }),
        ...(typeof release === 'number' && { release }),
      });
    }
  };
  await Promise.all(Array.from({ length: 8 }, reader));
  return found;
}

/** Endpoints with their counts; waits until the workers had time to go to rest. */
export async function readEndpoints(stage: Stage, restMs: number): Promise<Snapshot['endpoints']> {
  const end = performance.now() + restMs;
  const items = await list(stage, '/api/v1/endpoints');
  return Promise.all(
    items.map(async (item) => {
      const id = String(item['id']);
      const { scale } = item['settings'] as { scale: { min: number; max: number } };
      // Frozen ones are at rest; how many there may be is the bound of max.
      const countAwake = async () =>
        (await list(stage, `/api/v1/endpoints/${id}/workers`)).filter(({ state }) => state !== 'FROZEN').length;
      let workersAtRest = await countAwake();
      while (workersAtRest > scale.min && performance.now() < end) {
        await delay(200);
        workersAtRest = await countAwake();
      }
      const { jobs } = (await get(stage, `/v2/${id}/health`)) as { jobs: Record<string, number> };
      const live = (jobs['inQueue'] ?? 0) + (jobs['inProgress'] ?? 0);
      return { id, ...scale, attempts: 3, completed: jobs['completed'] ?? 0, failed: jobs['failed'] ?? 0, live, workersAtRest };
    }),
  );
}

export async function readWorkers(stage: Stage, endpoints: readonly string[]): Promise<Snapshot['workers']> {
  const lists = await Promise.all(
    endpoints.map(async (endpoint) => {
      const workers = await list(stage, `/api/v1/endpoints/${endpoint}/workers?all=true`);
      return workers.map(({ id, release, state }) => ({ id: String(id), endpoint, release: Number(release), state: String(state) }));
    }),
  );
  return lists.flat();
}

/** Releases, hashed again from the registry's files. */
export async function readReleases(stage: Stage, endpoints: readonly string[]): Promise<Snapshot['releases']> {
  const releases: Snapshot['releases'][number][] = [];
  for (const endpoint of endpoints) {
    for (const { number, image, spec } of await list(stage, `/api/v1/endpoints/${endpoint}/releases?limit=1000`)) {
      const { digest } = image as { digest: string };
      const { env } = spec as { env: Record<string, string> };
      const blobs = await Promise.all(
        namedBlobs(stage, digest).map(async (name) => ({ digest: name, actual: await hashBlob(stage, name) })),
      );
      releases.push({ endpoint, number: Number(number), code: env['CODE'] ?? '', digest, actual: await hashBlob(stage, digest), blobs });
    }
  }
  return releases;
}

const blobFile = ({ dataDir }: Stage, digest: string) => join(dataDir, 'registry', 'blobs', 'sha256', digest.slice('sha256:'.length));

function namedBlobs(stage: Stage, digest: string): string[] {
  const file = blobFile(stage, digest);
  if (!existsSync(file)) return [];
  const { config, layers } = JSON.parse(readFileSync(file, 'utf8')) as { config: { digest: string }; layers: { digest: string }[] };
  return [config, ...layers].map((blob) => blob.digest);
}

async function hashBlob(stage: Stage, digest: string): Promise<string | null> {
  const file = blobFile(stage, digest);
  if (!existsSync(file)) return null;
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return `sha256:${hash.digest('hex')}`;
}

/** What is left of a stopped server; its supervisor has some seconds to leave. */
export async function findLeftovers({ dataDir }: Stage, graceMs: number): Promise<string[]> {
  const find = () => [
    ...startedProcesses(dataDir).map(({ pid, worker }) => `process ${pid} of ${worker}`),
    ...supervisorPids(dataDir).map((pid) => `supervisor ${pid}`),
    ...['workers', 'registry/incoming', 'registry/uploads'].flatMap((dir) => entriesOf(join(dataDir, dir)).map((name) => `${dir}/${name}`)),
    ...filesBelow(dataDir)
      .filter((file) => file.endsWith('.new') || file.endsWith('.sock'))
      .map((file) => file.slice(dataDir.length + 1)),
  ];
  const end = performance.now() + graceMs;
  for (let found = find(); ; found = find()) {
    if (found.length === 0 || performance.now() > end) return found;
    await delay(200);
  }
}

export interface Secret {
  readonly name: string;
  readonly value: string;
  /** Paths, relative to the data directory, where it may be. */
  readonly allowed: RegExp;
}

/** Looks for secrets in every file of the data directory and in what the servers said. */
export function findLeaks({ dataDir, log }: Stage, secrets: readonly Secret[]): Snapshot['leaks'] {
  const files = filesBelow(dataDir).filter((file) => !file.endsWith('.sock'));
  const places = files.map((file) => ({ place: file.slice(dataDir.length + 1), bytes: readFileSync(file) }));
  places.push({ place: 'the server log', bytes: Buffer.from(log()) });
  return places.flatMap(({ place, bytes }) =>
    secrets.filter(({ value, allowed }) => !allowed.test(place) && bytes.includes(value)).map(({ name }) => ({ secret: name, place })),
  );
}

const entriesOf = (dir: string): string[] => (existsSync(dir) ? readdirSync(dir) : []);

function filesBelow(dir: string): string[] {
  return entriesOf(dir).flatMap((name) => {
    const path = join(dir, name);
    try {
      const found = statSync(path);
      return found.isDirectory() ? filesBelow(path) : found.isFile() || path.endsWith('.sock') ? [path] : [];
    } catch {
      return []; // Gone meanwhile.
    }
  });
}
