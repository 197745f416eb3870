import type { Log } from '../base/log.js';
import type { Store } from '../store/store.js';
import type { Runtimes } from './runtimes.js';

interface Standby {
  readonly store: Pick<Store, 'listEndpoints' | 'getRelease'>;
  readonly runtimes: Pick<Runtimes, 'choose'>;
  readonly log: Log;
}

/**
 * The image of an endpoint with extra workers is ready to run at any time, also after somebody removed what its runtime keeps of it: its
 * next worker starts without a pull.
 */
export async function prepareStandby({ store, runtimes, log }: Standby): Promise<void> {
  for (const endpoint of await store.listEndpoints()) {
    const { id, activeRelease, settings } = endpoint;
    if ((settings.scale.extra ?? 0) === 0 || activeRelease === null) continue;
    const release = await store.getRelease(id, activeRelease);
    if (!release) continue;
    const prepared = runtimes.choose(endpoint, release.image, release.spec).then((runtime) => runtime.prepare(release.image));
    await prepared.catch((cause: unknown) =>
      log.warn({ err: cause, endpointId: id }, 'the image of an endpoint with extra workers is not ready'),
    );
  }
}
