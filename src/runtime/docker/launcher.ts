import type { Clock } from '../../base/clock.js';
import { WherryError } from '../../base/errors.js';
import { makeVolumes } from '../places.js';
import type { WorkerSpec } from '../runtime.js';
import { describeContainer } from './container.js';
import { createContainer, removeContainer, startContainer } from './container-calls.js';
import type { Engine } from './engine.js';
import type { ImageStore } from './images.js';
import { containerNameOf } from './names.js';
import type { Networks } from './networks.js';
import { choosePorts } from './ports.js';
import { NEW_FILE, type WorkerFiles } from './worker-files.js';

export interface LauncherOptions {
  /** Throws RUNTIME_UNAVAILABLE while the engine is away. */
  readonly engine: () => Engine;
  readonly instanceId: string;
  readonly dataDir: string;
  readonly clock: Clock;
  readonly images: ImageStore;
  readonly networks: Networks;
  readonly files: WorkerFiles;
  readonly onNote: (note: { readonly workerId: string; readonly text: string }) => void;
}

/** A container that runs, and what it took. */
export interface Launched {
  readonly containerId: string;
  /** This machine's address in its network. */
  readonly gateway: string;
  /** Fetched for its image. */
  readonly bytes: number;
  readonly preparedAt: number;
  readonly madeAt: number;
}

export interface Launcher {
  /** Throws RUNTIME_REFUSED, RUNTIME_UNAVAILABLE; then a container of the worker's name may be left. */
  launch(spec: WorkerSpec): Promise<Launched>;
}

/** Creates and starts containers of workers, with all that has to be there before. */
export function createLauncher({ engine, instanceId, dataDir, clock, images, networks, files, onNote }: LauncherOptions): Launcher {
  let isDiskRefused = false;

  /** An image that the engine lacks is pulled, a disk limit that it cannot hold is left out. */
  const create = async (spec: WorkerSpec, network: string): Promise<Omit<Launched, 'gateway'>> => {
    const { api, facts } = engine();
    const config = await images.accept(spec.image);
    const reference = images.referenceOf(spec.image);
    const ports = await choosePorts(spec.ports);
    let bytes = 0;
    let preparedAt = clock.now();
    for (let isPulled = false; ; ) {
      const isDiskLimited = !isDiskRefused && facts.capabilities.limits.disk === 'engine';
      const body = describeContainer({ spec, instanceId, reference, network, config, facts, dataDir, ports, isDiskLimited });
      const creation = await createContainer(api, containerNameOf(spec.workerId), body);
      if (typeof creation === 'object') return { ...creation, bytes, preparedAt, madeAt: clock.now() };
      if (creation === 'no-disk-limit' && isDiskLimited) isDiskRefused = true;
      else if (creation === 'no-image' && !isPulled) {
        bytes = await images.pull(spec.image, (text) => onNote({ workerId: spec.workerId, text }));
        preparedAt = clock.now();
        isPulled = true;
      } else throw failed(spec, `the engine refuses what it had (${creation})`);
    }
  };
  /** The network may have been removed by somebody since it was seen last, and a port taken since it was chosen: then once more. */
  const launch = async (spec: WorkerSpec, triesLeft = TRIES): Promise<Launched> => {
    const { workerId, endpointId } = spec;
    await makeVolumes(spec, dataDir);
    const { name: network, gateway } = await networks.ensure(endpointId);
    const made = await create(spec, network);
    files.write(workerId, { ...NEW_FILE, gateway });
    const lack = await startContainer(engine().api, made.containerId);
    if (lack === 'started') return { ...made, gateway };
    if (triesLeft === 1) throw failed(spec, LACKS[lack]);
    if (lack === 'no-network') networks.forget(endpointId);
    await removeContainer(engine().api, made.containerId);
    return launch(spec, triesLeft - 1);
  };
  return { launch: (spec) => launch(spec) };
}

const TRIES = 3;
const LACKS = { 'no-network': 'its network vanished again and again', 'port-taken': 'its ports were taken again and again' } as const;

function failed({ workerId }: WorkerSpec, why: string): WherryError {
  return new WherryError('RUNTIME_UNAVAILABLE', `start of worker '${workerId}' failed: ${why}`, { hint: 'look at the log of the engine' });
}
