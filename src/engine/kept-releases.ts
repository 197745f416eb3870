import type { Release } from '../domain/release.js';
import type { Store } from '../store/store.js';

/** How many releases of an endpoint stay ready for a rollback (decision 11). */
const KEPT_RELEASES = 20;

type Records = Pick<Store, 'listEndpoints' | 'listReleases' | 'listRollouts' | 'listWorkers'>;

/** Releases that run or are about to: the active one, those of an open rollout, and those that have workers. */
export function listUsedReleases(store: Records): Promise<readonly Release[]> {
  return listReleases(store, 0);
}

/** Releases whose images stay whatever the registry's rules say: the last {@link KEPT_RELEASES} of each endpoint, and those in use. */
export function listKeptReleases(store: Records): Promise<readonly Release[]> {
  return listReleases(store, KEPT_RELEASES);
}

async function listReleases(store: Records, newest: number): Promise<readonly Release[]> {
  const found: Release[] = [];
  for (const { id, activeRelease } of await store.listEndpoints()) {
    const open = await store.listRollouts(id, { isOpen: true });
    const workers = await store.listWorkers(id);
    const used = new Set([activeRelease, ...open.flatMap(({ from, to }) => [from, to]), ...workers.map(({ release }) => release)]);
    const newestFirst = (await store.listReleases(id)).toSorted((a, b) => b.number - a.number);
    found.push(...newestFirst.filter(({ number }, index) => index < newest || used.has(number)));
  }
  return found;
}
