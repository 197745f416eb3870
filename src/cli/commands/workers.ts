import { existsSync } from 'node:fs';
import type { ApiClient } from '../../api/client.js';
import type { WorkerView } from '../../api/resources.js';
import { openClock } from '../../base/clock.js';
import { formatBytes } from '../../base/size.js';
import { formatAge } from '../../domain/health.js';
import { formatRelease } from '../../domain/release.js';
import { type Command, type Context, textOf } from '../command.js';
import { ENDPOINT_OPTION, endpointOf } from '../endpoint.js';
import { formatAgo, formatTable } from '../output.js';

export const workers: Command = {
  name: 'workers',
  summary: 'list workers: what they do and since when, and how the last ones ended; with -q their ids',
  options: [
    { ...ENDPOINT_OPTION, text: 'endpoint (default: the project in this directory, else all)' },
    { flags: '--all', text: 'also those that stopped' },
  ],
  example: 'wherry workers -e hello-node --all',
  async run(context) {
    const { options, output } = context;
    const client = await context.client();
    const all = options['all'] === true;
    const items = (await Promise.all((await chooseEndpoints(context, client)).map((id) => client.listWorkers(id, { all })))).flat();
    if (options['quiet'] === true) {
      output.result({ items }, items.map(({ id }) => id).join('\n'));
      return 0;
    }
    const now = openClock().now();
    const rows = items.map((worker) => formatWorker(worker, now));
    const table = formatTable(['worker', 'endpoint', 'release', 'state', 'runtime', 'age', 'since', 'jobs', 'exit', 'reason'], rows);
    output.result({ items }, rows.length === 0 ? `no workers${all ? '' : '; --all lists those that stopped'}` : table);
    return 0;
  },
};

async function chooseEndpoints(context: Context, client: ApiClient): Promise<readonly string[]> {
  if (textOf(context.options, 'endpoint') !== undefined || existsSync('wherry.yaml')) return [await endpointOf(context)];
  return (await client.listEndpoints()).map(({ id }) => id);
}

function formatWorker(worker: WorkerView, now: number): string[] {
  const { id, endpointId, release, runtime, path, createdAt, jobs, exitCode, reason } = worker;
  return [
    id,
    endpointId,
    formatRelease(release),
    formatState(worker),
    path === null ? runtime : `${runtime} (${path})`,
    formatAge(Math.max(0, now - Date.parse(createdAt))),
    formatSince(worker, now),
    String(jobs.length),
    exitCode === null ? '' : String(exitCode),
    reason?.split('\n')[0] ?? '',
  ];
}

function formatState({ state, isStale, isCandidate }: WorkerView): string {
  if (state === 'STOPPED') return state;
  if (isCandidate) return `${state} candidate`;
  return isStale ? `${state} outdated` : state;
}

/** Since when it rests: idle, frozen with what it holds, or stopped. */
function formatSince({ state, idleSince, frozenAt, memoryBytes, stoppedAt }: WorkerView, now: number): string {
  if (state === 'STOPPED') return stoppedAt === null ? '' : `stopped ${formatAgo(stoppedAt, now)}`;
  if (state === 'FROZEN' && frozenAt !== null)
    return `frozen ${formatAgo(frozenAt, now)}${memoryBytes === null ? '' : `, ${formatBytes(memoryBytes)}`}`;
  return state === 'IDLE' && idleSince !== null ? `idle ${formatAgo(idleSince, now)}` : '';
}
