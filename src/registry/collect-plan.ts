import type { Digest } from '../oci/digest.js';
import { parseVersionTag } from '../oci/semver-tag.js';
import type { NamedDigest, NamedTag } from './repositories.js';

/** What a manifest names, by digest; undefined stands for one that cannot be read. */
export interface Content {
  readonly manifests: readonly Digest[];
  readonly blobs: readonly Digest[];
  readonly subject: Digest | undefined;
}

/** Everything a repository names, as it was read. */
export interface Names {
  readonly tags: readonly NamedTag[];
  readonly manifests: readonly NamedDigest[];
  readonly blobs: readonly NamedDigest[];
  readonly contents: ReadonlyMap<Digest, Content | undefined>;
}

/** What stays whatever nothing names it any more. Times in milliseconds. */
export interface Rules {
  readonly now: number;
  /** What was written within this time may belong to a push under way. */
  readonly graceMs: number;
  /** How long a manifest stays after its last tag went. */
  readonly untaggedMs: number;
  /** How many tags stay, the last pushed ones; those that are semantic versions stay beside them. Undefined: all. */
  readonly keepTags: number | undefined;
  /** Tags written longer ago than this go, whatever they are; undefined: none. */
  readonly unusedMs: number | undefined;
  /** Manifests of this repository that kept releases run. */
  readonly needed: ReadonlySet<Digest>;
  /** See {@link Storage.isSpared}. */
  readonly isSpared: (digest: Digest) => boolean;
}

/** What to remove, in the order of removal, and what is left. */
export interface Plan {
  readonly tags: readonly NamedTag[];
  readonly manifests: readonly Digest[];
  readonly blobs: readonly Digest[];
  /** Manifests and blobs that the repository names afterwards. */
  readonly left: ReadonlySet<Digest>;
}

/**
 * Decides what of one repository goes: tags that the rules let go, manifests that nothing names, links to blobs that no
 * manifest left names. Gives the digest instead when a manifest that stays cannot be read: what it names is not known then,
 * so nothing of the repository may go.
 */
export function planCollection(names: Names, rules: Rules): Plan | { readonly unreadable: Digest } {
  const tags = dropTags(names, rules);
  const isDropped = new Set(tags.map(({ tag }) => tag));
  const present = new Set(names.manifests.map(({ digest }) => digest));
  const tagged = names.tags.filter(({ tag }) => !isDropped.has(tag)).map(({ digest }) => digest);
  // A manifest whose tag goes now begins its time without one.
  const untaggedNow = rules.untaggedMs > 0 ? tags.map(({ digest }) => digest) : [];
  const roots = [...rules.needed, ...[...tagged, ...untaggedNow].filter((digest) => present.has(digest)), ...youngOf(names, rules)];
  const marked = mark(names, roots);
  if ('unreadable' in marked) return marked;
  const blobs = names.blobs
    .filter(({ digest, namedAt }) => !marked.blobs.has(digest) && !marked.manifests.has(digest) && !isYoung(namedAt, digest, rules))
    .map(({ digest }) => digest);
  const gone = new Set(blobs);
  return {
    tags,
    manifests: parentsFirst(
      names.manifests.map(({ digest }) => digest).filter((digest) => !marked.manifests.has(digest)),
      names,
    ),
    blobs,
    left: new Set([...marked.manifests, ...names.blobs.map(({ digest }) => digest).filter((digest) => !gone.has(digest))]),
  };
}

/** The tags that were not used for long, or are beyond the last `keepTags` and no versions; never what a kept release runs. */
function dropTags({ tags, contents }: Names, { keepTags, unusedMs, needed, now, graceMs }: Rules): readonly NamedTag[] {
  // A release runs the manifest of its platform, and its tag may name the index of that.
  const isNeeded = (digest: Digest) => needed.has(digest) || contents.get(digest)?.manifests.some((child) => needed.has(child)) === true;
  if (unusedMs !== undefined)
    return tags.filter(({ digest, namedAt }) => !isNeeded(digest) && now - namedAt >= Math.max(unusedMs, graceMs));
  if (keepTags === undefined) return [];
  const droppable = tags.filter(({ tag }) => parseVersionTag(tag) === undefined);
  const newestFirst = droppable.toSorted((a, b) => b.namedAt - a.namedAt || (a.tag < b.tag ? 1 : -1));
  return newestFirst.slice(keepTags).filter(({ digest, namedAt }) => !isNeeded(digest) && now - namedAt >= graceMs);
}

/**
 * Manifests that stay for their age. One that refers to another which is here is judged by that one alone, except while it
 * may belong to a push; then its subject stays with it.
 */
function youngOf({ manifests, contents }: Names, rules: Rules): readonly Digest[] {
  const present = new Set(manifests.map(({ digest }) => digest));
  return manifests.flatMap(({ digest, namedAt }) => {
    const subject = contents.get(digest)?.subject;
    const hasSubject = subject !== undefined && present.has(subject);
    if (isYoung(namedAt, digest, rules)) return hasSubject ? [digest, subject] : [digest];
    return !hasSubject && rules.now - namedAt < rules.untaggedMs ? [digest] : [];
  });
}

function isYoung(namedAt: number, digest: Digest, { now, graceMs, isSpared }: Rules): boolean {
  return now - namedAt < graceMs || isSpared(digest);
}

type Marked = { readonly manifests: Set<Digest>; readonly blobs: Set<Digest> };

/** Everything reachable: an index keeps its manifests, a manifest its blobs, and each what refers to it. */
function mark({ manifests, contents }: Names, roots: readonly Digest[]): Marked | { readonly unreadable: Digest } {
  const referrers = new Map<Digest, Digest[]>();
  for (const { digest } of manifests) {
    const subject = contents.get(digest)?.subject;
    if (subject !== undefined) referrers.set(subject, [...(referrers.get(subject) ?? []), digest]);
  }
  const marked: Marked = { manifests: new Set(), blobs: new Set() };
  const open = [...roots];
  for (let digest = open.pop(); digest !== undefined; digest = open.pop()) {
    if (marked.manifests.has(digest)) continue;
    const content = contents.get(digest);
    if (!content) return { unreadable: digest };
    marked.manifests.add(digest);
    for (const blob of content.blobs) marked.blobs.add(blob);
    open.push(...content.manifests.filter((child) => contents.has(child)), ...(referrers.get(digest) ?? []));
  }
  return marked;
}

/** Indexes before what they list, so that an end in between leaves no index without its manifests. */
function parentsFirst(digests: readonly Digest[], { contents }: Names): readonly Digest[] {
  const isParent = (digest: Digest) => (contents.get(digest)?.manifests.length ?? 0) > 0;
  return [...digests.filter(isParent), ...digests.filter((digest) => !isParent(digest))];
}
