/** Names of GPUs, as their driver tells them, that a pool holds. */
const POOLS: Readonly<Record<string, RegExp>> = {
  AMPERE_16: /\b(A4000|A4500|RTX [24]000 (SFF )?Ada)\b/i,
  AMPERE_24: /\b(L4|A5000|3090)\b/i,
  ADA_24: /\b4090\b/i,
  AMPERE_48: /\b(A6000|A40)\b/i,
  ADA_48_PRO: /\b(L40S?|RTX 6000 Ada)\b/i,
  AMPERE_80: /\bA100\b.*80 ?GB/i,
  ADA_80_PRO: /\bH100\b/i,
  HOPPER_141: /\bH200\b/i,
};

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
  const unknown = asked.filter((kind) => !isPool(kind) && !isOfPool(kind) && !hasKind(labels, kind));
  const wanted = asked.filter((kind) => !unknown.includes(kind));
  const isMet = wanted.length > 0 ? wanted.some((kind) => hasKind(left, kind)) : left.length > 0 || labels.length === 0;
  return { isMet, wanted, unknown };
}

function isPool(kind: string): boolean {
  return Object.hasOwn(POOLS, kind);
}

function isOfPool(name: string): boolean {
  return Object.values(POOLS).some((models) => models.test(name));
}

function hasKind(labels: readonly string[], kind: string): boolean {
  return labels.some((label) => bareName(label) === bareName(kind) || (isPool(kind) && POOLS[kind]?.test(label)));
}

/** `NVIDIA GeForce RTX 4090` and `RTX 4090` are one. */
function bareName(name: string): string {
  return name
    .trim()
    .toLowerCase()
    .replace(/^(nvidia |geforce )+/, '');
}
