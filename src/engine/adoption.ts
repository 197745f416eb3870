import { setTimeout as delay } from 'node:timers/promises';
import { messageOf } from '../base/errors.js';
import type { Worker } from '../domain/worker.js';
import type { Runtime } from '../runtime/runtime.js';
import { type Core, LEASE_MS } from './core.js';

const RETRY_MS = 1_000;

/** Takes over the workers of a former server. */
export interface Adoption {
  /** Resolves when every runtime was asked; one that is away is asked again in the background, and its workers are left as they are. */
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** After a restart what a runtime lists is the truth about its workers. Live leases get one full lease (decision 21). */
export function createAdoption(core: () => Core): Adoption {
  const stopping = new AbortController();
  let later: Promise<void> = Promise.resolve();

  /** Asks until it answers. */
  const insist = async (runtime: Runtime): Promise<void> => {
    while (!stopping.signal.aborted) {
      await delay(RETRY_MS, undefined, { signal: stopping.signal }).catch(() => {});
      // Those that this server started meanwhile are nobody's heritage.
      if (
        stopping.signal.aborted ||
        (await tryAdopt(core(), runtime, ({ createdAt, admittedAt }) => (admittedAt ?? createdAt) < core().startedAt))
      )
        return;
    }
  };
  return {
    async start() {
      const away: Runtime[] = [];
      for (const runtime of core().runtimes.all) if (!(await tryAdopt(core(), runtime, () => true))) away.push(runtime);
      later = Promise.all(away.map(insist)).then(() => {});
      await loseStrangers(core());
    },
    async stop() {
      stopping.abort();
      await later;
    },
  };
}

/** False when the runtime is away: its workers may run, and may not. */
async function tryAdopt(core: Core, runtime: Runtime, isInherited: (worker: Worker) => boolean): Promise<boolean> {
  let listed: readonly string[];
  try {
    listed = await runtime.list();
  } catch (thrown) {
    core.log.debug({ runtime: runtime.name, reason: messageOf(thrown) }, 'a runtime is away; its workers are adopted when it is back');
    return false;
  }
  await adopt(core, runtime, { listed: new Set(listed), isInherited }).catch((cause: unknown) =>
    core.log.error({ err: cause, runtime: runtime.name }, 'the workers of a former server could not be adopted'),
  );
  return true;
}

type Heritage = { readonly listed: ReadonlySet<string>; readonly isInherited: (worker: Worker) => boolean };

async function adopt(core: Core, runtime: Runtime, { listed, isInherited }: Heritage): Promise<void> {
  const known = await core.store.listWorkers(undefined);
  const inherited = known.filter((each) => each.runtime === runtime.name && isInherited(each));
  for (const worker of inherited) {
    if (core.life.isStopped) return;
    if (listed.has(worker.id)) await takeOver(core, worker);
    else await lose(core, worker, 'it ended while the server was away');
  }
  core.freezer.adopt(inherited.filter(({ id }) => listed.has(id)));
  for (const id of listed) {
    if (known.some((worker) => worker.id === id)) continue;
    await runtime
      .stopWorker(id, 0)
      .catch((cause: unknown) => core.log.error({ workerId: id, cause: messageOf(cause) }, 'an unknown worker runs'));
  }
}

/** Workers of a runtime that this server does not have any more. */
async function loseStrangers(core: Core): Promise<void> {
  const names = new Set(core.runtimes.all.map(({ name }) => name));
  for (const worker of await core.store.listWorkers(undefined)) {
    if (!names.has(worker.runtime)) await lose(core, worker, `this server has no runtime '${worker.runtime}' any more`);
  }
}

async function takeOver(core: Core, worker: Worker): Promise<void> {
  const now = core.clock.now();
  await core.store.extend(worker.id, { confirmed: [], leaseUntil: now + LEASE_MS }, now);
  const { endpointId, id: workerId } = worker;
  for (const job of await core.store.listJobs({ endpointId, workerId, states: ['IN_PROGRESS'], limit: 1_000 }))
    core.occupations.begin(worker.id, job.id, job.claimedAt ?? now);
  if (worker.state !== 'DRAINING') return;
  core.fleet
    .drain(worker.id, { reason: worker.reason ?? 'it was stopping' })
    .catch((cause: unknown) => core.log.error({ err: cause }, 'a worker could not be stopped'));
}

function lose(core: Core, worker: Worker, reason: string): Promise<void> {
  return core.fleet.recordExit(worker.id, { exitCode: null, signal: null, reason, isLost: true });
}
