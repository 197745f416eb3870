import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseVolume, variableOf } from '../domain/volume.js';
import { VOLUME_ROOT, volumeVariables } from '../domain/worker-environment.js';
import type { WorkerSpec } from './runtime.js';

/** Something on this machine, and where a worker has it. */
export interface Place {
  readonly source: string;
  readonly target: string;
  readonly isReadOnly: boolean;
}

const HUB_HOME = `${VOLUME_ROOT}/huggingface-cache`;

type Spec = Pick<WorkerSpec, 'volumes' | 'models'>;

/** What a container gets besides its image. Throws RUNTIME_REFUSED. */
export function placesOf({ volumes, models }: Spec, dataDir: string): readonly Place[] {
  return [
    ...volumes.map(parseVolume).map(({ name, path }) => ({ source: volumeDir(dataDir, name), target: path, isReadOnly: false })),
    ...models.map(({ cacheDir, folder }) => ({
      source: join(cacheDir, folder),
      target: `${HUB_HOME}/hub/${folder}`,
      isReadOnly: true,
    })),
  ];
}

/** The variables that tell a container's programs where volumes and models are. */
export function placeVariables({ volumes, models }: Spec): Readonly<Record<string, string>> {
  const parsed = volumes.map(parseVolume);
  return {
    ...Object.fromEntries(parsed.map(({ name, path }) => [variableOf({ name }), path])),
    ...volumeVariables(parsed),
    ...(models.length > 0 && { HF_HOME: HUB_HOME, ...cacheVariables(`${HUB_HOME}/hub`) }),
  };
}

/** The same for a process, which has no paths but those of this machine. */
export function hostVariables({ volumes, models }: Spec, dataDir: string): Readonly<Record<string, string>> {
  const parsed = volumes.map(parseVolume);
  const [model] = models;
  return {
    ...Object.fromEntries(parsed.map(({ name }) => [variableOf({ name }), volumeDir(dataDir, name)])),
    ...volumeVariables(parsed),
    ...(model && cacheVariables(model.cacheDir)),
  };
}

/** The directories of a release's volumes are there. Workers of any user write to them; the data directory above is open to its owner only. */
export async function makeVolumes({ volumes }: Pick<Spec, 'volumes'>, dataDir: string): Promise<void> {
  for (const { name } of volumes.map(parseVolume)) {
    const dir = volumeDir(dataDir, name);
    if (await mkdir(dir, { recursive: true })) await chmod(dir, 0o777);
  }
}

function volumeDir(dataDir: string, name: string): string {
  return join(dataDir, 'volumes', name);
}

/** The second name is what older versions of `huggingface_hub` read. */
function cacheVariables(dir: string): Readonly<Record<string, string>> {
  return { HF_HUB_CACHE: dir, HUGGINGFACE_HUB_CACHE: dir };
}
