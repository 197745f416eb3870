import { type Stage, until } from '../stage.js';

/** What tests of frozen workers look at. */
export interface WorkerRow {
  readonly id: string;
  readonly state: string;
  readonly release: number;
  readonly frozenAt: string | null;
  readonly idleSince: string | null;
  readonly memoryBytes: number | null;
  readonly exitCode: number | null;
  readonly reason: string | null;
}

export async function workersOf(stage: Stage, endpoint: string, all = false): Promise<readonly WorkerRow[]> {
  return ((await stage.call(`/api/v1/endpoints/${endpoint}/workers?all=${all}`)).json as { items: WorkerRow[] }).items;
}

/** The workers of an endpoint, once there are so many and all of them are frozen. */
export function frozenOf(stage: Stage, endpoint: string, count = 1): Promise<readonly WorkerRow[]> {
  return until(async () => {
    const rows = await workersOf(stage, endpoint);
    const isFrozen = rows.length === count && rows.every(({ state, memoryBytes }) => state === 'FROZEN' && memoryBytes !== null);
    return isFrozen ? rows : undefined;
  }, `${count} frozen workers of ${endpoint}`);
}

/** That worker, once it is in the state. */
export function untilState(
  stage: Stage,
  endpoint: string,
  { id, state }: { readonly id: string; readonly state: string },
): Promise<WorkerRow> {
  return until(
    async () => (await workersOf(stage, endpoint, true)).find((row) => row.id === id && row.state === state),
    `${id} to be ${state}`,
  );
}
