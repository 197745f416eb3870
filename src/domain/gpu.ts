/** A GPU by the name that its driver tells. */
export interface Gpu {
  readonly name: string;
  readonly memoryGib: number;
}

/** GPUs that do the same work: a release that asks for a pool gets any of them. */
export interface GpuPool {
  readonly id: string;
  /** Those that are known by their full names. */
  readonly gpus: readonly Gpu[];
  /** What names of its GPUs have in common; drivers tell further variants. */
  readonly names: RegExp;
}

const pool = (id: string, names: RegExp, gpus: Readonly<Record<string, number>>): GpuPool => ({
  id,
  names,
  gpus: Object.entries(gpus).map(([name, memoryGib]) => ({ name: `NVIDIA ${name}`, memoryGib })),
});

/** All pools, with ids as RunPod has them: projects and test files name them. */
export const GPU_POOLS: readonly GpuPool[] = [
  pool('AMPERE_16', /\b(A4000|A4500|RTX [24]000 (SFF )?Ada)\b/i, {
    'RTX A4000': 16,
    'RTX A4500': 20,
    'RTX 4000 Ada Generation': 20,
    'RTX 2000 Ada Generation': 16,
  }),
  pool('AMPERE_24', /\b(L4|A5000|3090)\b/i, { L4: 24, 'RTX A5000': 24, 'GeForce RTX 3090': 24 }),
  pool('ADA_24', /\b4090\b/i, { 'GeForce RTX 4090': 24 }),
  pool('AMPERE_48', /\b(A6000|A40)\b/i, { 'RTX A6000': 48, A40: 48 }),
  pool('ADA_48_PRO', /\b(L40S?|RTX 6000 Ada)\b/i, { L40: 48, L40S: 48, 'RTX 6000 Ada Generation': 48 }),
  pool('AMPERE_80', /\bA100\b.*80 ?GB/i, { 'A100 80GB PCIe': 80, 'A100-SXM4-80GB': 80 }),
  pool('ADA_80_PRO', /\bH100\b/i, { 'H100 PCIe': 80, 'H100 80GB HBM3': 80 }),
  pool('HOPPER_141', /\bH200\b/i, { H200: 141 }),
];

/** Kinds of GPUs that a release asks for, held against those that a node has. */
export interface GpuMatch {
  /** One of them is here, or nothing that is known was asked for. */
  readonly isMet: boolean;
  /** Asked for, in order of preference, without those that are unknown. */
  readonly wanted: readonly string[];
  /** Neither a pool, nor a GPU of one, nor what the node is labelled with. */
  readonly unknown: readonly string[];
}

/**
 * Matches kinds with the GPUs of a node. A kind is a pool's id or a GPU's name; `-NAME` excludes one. The node's labels may be either, too.
 * Kinds that nobody knows stand for any GPU when nothing else is asked for.
 */
export function matchKinds(kinds: readonly string[], labels: readonly string[]): GpuMatch {
  const excluded = kinds.filter((kind) => kind.startsWith('-')).map((kind) => bareName(kind.slice(1)));
  const left = labels.filter((label) => !excluded.includes(bareName(label)));
  const asked = kinds.filter((kind) => !kind.startsWith('-'));
  const unknown = asked.filter((kind) => !findPool(kind) && !isOfPool(kind) && !hasKind(labels, kind));
  const wanted = asked.filter((kind) => !unknown.includes(kind));
  const isMet = wanted.length > 0 ? wanted.some((kind) => hasKind(left, kind)) : left.length > 0 || labels.length === 0;
  return { isMet, wanted, unknown };
}

function findPool(kind: string): GpuPool | undefined {
  return GPU_POOLS.find(({ id }) => id === kind);
}

function isOfPool(name: string): boolean {
  return GPU_POOLS.some(({ names }) => names.test(name));
}

function hasKind(labels: readonly string[], kind: string): boolean {
  return labels.some((label) => bareName(label) === bareName(kind) || findPool(kind)?.names.test(label));
}

/** `NVIDIA GeForce RTX 4090` and `RTX 4090` are one. */
function bareName(name: string): string {
  return name
    .trim()
    .toLowerCase()
    .replace(/^(nvidia |geforce )+/, '');
}
