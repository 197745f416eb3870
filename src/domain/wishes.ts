import type { Room } from './capacity.js';
import { matchKinds } from './gpu.js';
import { findMisfit, type NodeFacts } from './placement.js';
import type { ReleaseSpec } from './release.js';
import { parseVolume } from './volume.js';

/** GPUs that a worker asks for, whether this host has them or not. */
export interface GpuWish {
  readonly count: number;
  /** As `resources.gpu` of a release has them; none: any. */
  readonly kinds: readonly string[];
}

/** How large a worker is to be. */
export type Size = Pick<Room, 'cpu' | 'memoryBytes'>;

/** What an endpoint asks of its host beside its template, in words that were meant for another host. */
export interface Wishes {
  readonly gpu: GpuWish;
  /** One of them will do, the first that can be had; absent: whatever the template says. */
  readonly sizes?: readonly Size[];
  /** As in `placement` of a release. */
  readonly cuda?: string | readonly string[];
  readonly models?: readonly string[];
  /** As a release has them. */
  readonly volumes?: readonly string[];
}

export const NO_WISHES: Wishes = { gpu: { count: 0, kinds: [] } };

/** The host that is to grant them. */
export interface WishedHost {
  readonly total: Room;
  readonly labels: NodeFacts['labels'];
}

/** What of a release changes, and sentences about what it could not have. */
export interface Granted {
  readonly change: Partial<ReleaseSpec>;
  readonly notices: readonly string[];
}

/** What a release asks for on this host: no more than it has, for what it has not would keep its workers waiting for ever. */
export function grantWishes(spec: Partial<ReleaseSpec>, wishes: Wishes, host: WishedHost): Granted {
  const notices: string[] = [];
  const notify = (notice: string): void => void notices.push(notice);
  const { gpu: _gpu, ...resources } = spec.resources ?? {};
  const { models, volumes } = wishes;
  const gpu = wishes.gpu.count === 0 ? spec.resources?.gpu : chooseGpu(wishes.gpu, host, notify);
  const cuda = chooseCuda(wishes.cuda, host, notify);
  const change: Partial<ReleaseSpec> = {
    resources: { ...resources, ...chooseSize(wishes.sizes ?? [], host, notify), ...(gpu !== undefined && { gpu }) },
    ...(cuda !== undefined && { placement: { ...spec.placement, cuda } }),
    ...(models && { models: [...new Set([...(spec.models ?? []), ...models])] }),
    ...(volumes && { volumes: joinVolumes(spec.volumes ?? [], volumes) }),
  };
  return { change, notices };
}

type Notify = (notice: string) => void;

function chooseGpu({ count, kinds }: GpuWish, { total, labels }: WishedHost, notify: Notify): number | string | undefined {
  if (count > total.gpu) {
    const here = total.gpu === 0 ? 'no GPU' : `${total.gpu} GPUs`;
    const asked = kinds.length > 0 ? `${count === 1 ? '' : `${count} of `}'${kinds.join(',')}'` : `${count} of them`;
    notify(`the server has ${here}: what asks for ${asked} runs without`);
    return undefined;
  }
  const { isMet, wanted } = matchKinds(kinds, labels['gpu'] ?? []);
  if (!isMet) notify(`this host has no GPU of ${wanted.join(' or ') || 'those that are not excluded'}: a worker gets any of its GPUs`);
  return isMet && count === 1 && kinds.some((kind) => !kind.startsWith('-')) ? kinds.join(',') : count;
}

function chooseSize(sizes: readonly Size[], { total }: WishedHost, notify: Notify): Partial<Size> {
  const found = sizes.find(({ cpu, memoryBytes }) => cpu <= total.cpu && memoryBytes <= total.memoryBytes);
  if (found || sizes.length === 0) return found ?? {};
  notify(
    `this host has ${describeSize(total)}, a worker asks for ${sizes.map(describeSize).join(' or ')}: it runs without bounds of its own`,
  );
  return {};
}

function describeSize({ cpu, memoryBytes }: Size): string {
  return `${cpu} cores and ${Math.floor((memoryBytes / 2 ** 30) * 10) / 10} GiB`;
}

function chooseCuda(cuda: Wishes['cuda'], { labels }: WishedHost, notify: Notify): Wishes['cuda'] {
  if (cuda === undefined) return undefined;
  const misfit = findMisfit({ resources: {}, placement: { cuda } }, { labels, isGpuIgnored: false }, 'host');
  if (misfit === undefined) return cuda;
  notify(`${misfit}: it runs all the same`);
  return undefined;
}

/** One directory has one place: what is wished goes over what the template has there. */
function joinVolumes(before: readonly string[], wished: readonly string[]): readonly string[] {
  const taken = new Set(wished.map((text) => parseVolume(text).path));
  return [...before.filter((text) => !taken.has(parseVolume(text).path)), ...wished];
}
