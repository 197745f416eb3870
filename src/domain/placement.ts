import { type GpuMatch, matchKinds } from './gpu.js';
import type { GpuDevice } from './gpu-device.js';
import type { ReleaseSpec } from './release.js';

/** What is known of the machine that workers run on, beside its cores and memory. */
export interface NodeFacts {
  /** Values by key. `gpu` are names or pools of its GPUs, `cuda` is what its driver can do; others are its owner's. */
  readonly labels: Readonly<Record<string, readonly string[]>>;
  /** Releases that ask for GPUs or CUDA run without. */
  readonly isGpuIgnored: boolean;
  /** Those that workers may have. */
  readonly gpus: readonly GpuDevice[];
}

/** How a runtime gives GPUs to workers: its `engine` shows each its own, or each is told its own of the `host`; `absent`: its engine has none to give. */
export type GpuGrant = 'engine' | 'host' | 'absent';

/** A version of CUDA: major and minor. */
export const CUDA_PATTERN = '^\\d{1,3}\\.\\d{1,3}$';

type Wishes = Pick<ReleaseSpec, 'resources' | 'placement'>;
/** What its owner and its driver tell of a node. */
type Told = Omit<NodeFacts, 'gpus'>;

const WHERE = 'WHERRY_NODE_LABELS';

/** What of a release's GPUs a runtime is to give: none where the node ignores them. */
export function resourcesOn({ isGpuIgnored }: Told, resources: ReleaseSpec['resources']): ReleaseSpec['resources'] {
  if (!isGpuIgnored) return resources;
  const { gpu: _, ...rest } = resources;
  return rest;
}

/** How many GPUs a worker gets: kinds of them are one. */
export function countGpus(gpu: ReleaseSpec['resources']['gpu']): number {
  return typeof gpu === 'number' ? gpu : kindsOf(gpu).some((kind) => !kind.startsWith('-')) ? 1 : 0;
}

/** Why no worker of the release can ever run on this node, for people; undefined when one can. Room is looked at elsewhere. */
export function findMisfit({ resources, placement = {} }: Wishes, node: Told, grant: GpuGrant): string | undefined {
  const { labels, isGpuIgnored } = node;
  return (isGpuIgnored ? undefined : misfitOfGpu(resources.gpu, labels, grant)) ?? misfitOfLabels(placement, node);
}

/** What the author of a release should know of its place on this node, in sentences. */
export function noticePlacement(wishes: Wishes, node: NodeFacts, grant: GpuGrant): readonly string[] {
  const { gpu } = wishes.resources;
  const misfit = findMisfit(wishes, node, grant);
  const { unknown } = matchKinds(kindsOf(gpu), node.labels['gpu'] ?? []);
  return [
    ...(unknown.length > 0 && !node.isGpuIgnored ? [`${quote(unknown)}: no known kind of GPU, taken for any`] : []),
    ...(hasGpuWish(wishes) && node.isGpuIgnored ? ['it asks for a GPU, which this node ignores (WHERRY_GPU): workers run without'] : []),
    ...(countGpus(gpu) > 0 && !node.isGpuIgnored && grant === 'host' && node.gpus.length === 0
      ? ['this node has no GPU to give: workers that are processes run without one of their own']
      : []),
    ...(misfit === undefined ? [] : [`no worker of it can run on this node: ${misfit}`]),
  ];
}

function misfitOfGpu(gpu: ReleaseSpec['resources']['gpu'], labels: NodeFacts['labels'], grant: GpuGrant): string | undefined {
  const here = labels['gpu'] ?? [];
  const { isMet, wanted }: GpuMatch = matchKinds(kindsOf(gpu), here);
  if (!isMet) {
    const what = wanted.length === 0 ? 'a GPU that it does not exclude' : `a GPU of ${wanted.join(' or ')}`;
    return `it needs ${what}, this node has ${here.length === 0 ? 'none' : here.join(', ')} (${WHERE})`;
  }
  return countGpus(gpu) > 0 && grant === 'absent'
    ? 'it needs a GPU, and the container engine has none to give (`wherry doctor`)'
    : undefined;
}

function misfitOfLabels({ cuda, labels: wanted = {} }: NonNullable<ReleaseSpec['placement']>, node: Told): string | undefined {
  const [version] = node.labels['cuda'] ?? [];
  if (cuda !== undefined && !node.isGpuIgnored && !hasCuda(cuda, version)) {
    const what = typeof cuda === 'string' ? `${cuda} or newer` : cuda.join(' or ');
    return `it needs CUDA ${what}, this node has ${version ?? 'none'} (${WHERE})`;
  }
  for (const [key, value] of Object.entries(wanted)) {
    const here = node.labels[key] ?? [];
    if (!here.includes(value))
      return `it needs a node with ${key}=${value}, this one has ${here.length === 0 ? `no ${key}` : `${key}=${here.join(', ')}`} (${WHERE})`;
  }
  return undefined;
}

function hasGpuWish({ resources, placement }: Wishes): boolean {
  return countGpus(resources.gpu) > 0 || placement?.cuda !== undefined;
}

/** One version is the least that will do, several are all that will. */
function hasCuda(cuda: string | readonly string[], version: string | undefined): boolean {
  if (version === undefined) return false;
  if (typeof cuda !== 'string') return cuda.includes(version);
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [leastMajor = 0, leastMinor = 0] = cuda.split('.').map(Number);
  return major > leastMajor || (major === leastMajor && minor >= leastMinor);
}

/** Kinds of GPUs in `resources.gpu`, exclusions too. */
export function kindsOf(gpu: ReleaseSpec['resources']['gpu']): readonly string[] {
  return typeof gpu === 'string' ? gpu.split(',').flatMap((kind) => kind.trim() || []) : [];
}

function quote(words: readonly string[]): string {
  return words.map((word) => `'${word}'`).join(', ');
}
