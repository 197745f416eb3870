import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { APP_ROOT } from '../../oci/manifest.js';
import { hostVariables } from '../places.js';
import type { WorkerSpec } from '../runtime.js';
import { resolveArgv, resolveImageEnv } from './command.js';
import { planFork } from './fork/plan.js';
import { type ForkPlan, MARKER, type SpawnOrder } from './protocol.js';
import { compiledOf, type PreparedImage } from './root.js';
import { copyTree } from './seal.js';

export interface OrderOptions {
  readonly dataDir: string;
  readonly instanceId: string;
  readonly searchPath: string;
  /** Folder of the fork server's program; when absent workers are spawned. */
  readonly forkServer?: string | undefined;
}

/** Makes the worker's private folders and resolves everything the supervisor needs. Throws what the file system throws. */
export function writeOrder(spec: WorkerSpec, image: PreparedImage, options: OrderOptions): SpawnOrder {
  const { dataDir, instanceId, searchPath } = options;
  const dir = join(dataDir, 'workers', spec.workerId);
  const [cwd, home, tmp] = [join(dir, 'work'), join(dir, 'home'), join(dir, 'tmp')];
  for (const folder of [cwd, home, tmp]) mkdirSync(folder, { recursive: true, mode: 0o700 });
  copyTree({ ...image, top: `${APP_ROOT.slice(1)}/app`, target: cwd });
  const compiled = compiledOf(dataDir, spec.image.digest, image.sealId);
  // Before 22.1 Node does not know the variable.
  const cache = image.kind === 'python' ? { PYTHONPYCACHEPREFIX: compiled } : { NODE_COMPILE_CACHE: compiled };
  const own = resolveImageEnv(image.config.Env, image.root);
  const common = { PATH: searchPath, LANG: 'C.UTF-8', ...cache, ...own, ...hostVariables(spec, dataDir) };
  const env = { HOME: home, TMPDIR: tmp, ...common, ...spec.env, ...gpuVariables(spec), [MARKER]: `${instanceId}/${spec.workerId}` };
  const { cpu, memoryBytes } = spec.resources;
  const limits = { ...(cpu === undefined ? {} : { cpu }), ...(memoryBytes === undefined ? {} : { memoryBytes }) };
  const argv = resolveArgv({ ...image, args: spec.args });
  const fork = planFor(spec, { image, argv, common, limits, program: options.forkServer });
  return { workerId: spec.workerId, argv, env, cwd, dir, limits, ...(fork && { fork }) };
}

interface Resolved extends Pick<SpawnOrder, 'argv' | 'limits'> {
  readonly image: PreparedImage;
  /** Variables of every worker of the image here. */
  readonly common: Readonly<Record<string, string>>;
  readonly program: string | undefined;
}

function planFor(spec: WorkerSpec, { image, common, program, ...rest }: Resolved): ForkPlan | undefined {
  // Forked processes are told apart and found by what only Linux shows.
  if (program === undefined || image.kind !== 'python' || process.platform !== 'linux') return undefined;
  const shared = Object.entries(spec.env).filter(([name]) => !spec.ownEnv.includes(name));
  return planFork({
    image: spec.image.digest,
    sealId: image.sealId,
    program,
    app: `${image.root}${APP_ROOT}/app`,
    env: { ...common, ...Object.fromEntries(shared) },
    own: [...spec.ownEnv, ...Object.keys(gpuVariables(spec)), MARKER],
    ...rest,
  });
}

/** What keeps a program to the GPUs of its worker. Without the order CUDA would count indices from the fastest one, not as drivers list them. */
function gpuVariables({ gpus }: WorkerSpec): Readonly<Record<string, string>> {
  return gpus.length === 0 ? {} : { CUDA_DEVICE_ORDER: 'PCI_BUS_ID', CUDA_VISIBLE_DEVICES: gpus.join(',') };
}
