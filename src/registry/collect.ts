import { WherryError } from '../base/errors.js';
import type { Digest } from '../oci/digest.js';
import { type Content, type Names, type Plan, planCollection, type Rules } from './collect-plan.js';
import { partsOf } from './parts.js';
import type { OwnedRepositories } from './repositories.js';
import type { Storage } from './storage.js';

/** What is kept for a time, and how much of it. */
export interface CollectOptions {
  /** How long a manifest stays after its last tag went, in milliseconds. */
  readonly untaggedMs: number;
  /** How many tags of a repository stay beside semantic versions; undefined for all. */
  readonly keepTags?: number | undefined;
  /** How long what was copied from another registry stays after it was asked for last, in milliseconds; for ever when undefined. */
  readonly copiedMs?: number | undefined;
  /** Only finds out what would go. */
  readonly isDryRun?: boolean;
  /** Ends the collection between two removals. */
  readonly signal?: AbortSignal | undefined;
}

/** What went, or would go. Blobs are counted where their bytes were freed. */
export interface Collected {
  readonly isDryRun: boolean;
  /** Only those that lost something. */
  readonly repositories: readonly CollectedRepository[];
  /** Repositories of which nothing went, because a manifest that stays cannot be read. */
  readonly skipped: readonly { readonly repository: string; readonly reason: string }[];
  readonly blobs: number;
  /** Bytes of those blobs. */
  readonly freedBytes: number;
}

export interface CollectedRepository {
  readonly repository: string;
  readonly tags: readonly string[];
  readonly manifests: readonly Digest[];
  /** Blobs that the repository does not show any more; others may. */
  readonly blobs: number;
}

/** What was written within an hour may belong to a push under way. */
export const GRACE_MS = 60 * 60 * 1000;

/**
 * Removes what nothing needs: mark and sweep, repository by repository, then the bytes that none names.
 *
 * **Marked** are, in each repository, tags, the manifests that kept releases run, untagged manifests for a time, and what
 * is younger than an hour; with them the manifests of an index, the config and layers of a manifest, and whatever refers to
 * a marked manifest (its referrers go when it goes).
 *
 * **Pushes under way** need no lock. Every blob that is pushed, mounted or asked for (HEAD: the client then skips its
 * upload), and every part of a manifest before it is looked for, is spared for an hour from that moment; each removal looks
 * again in the turn of its digest. So a client that was told that a blob is here can name it in a manifest for an hour. After
 * a restart the times of names and bytes on disk tell the same, except for what was only asked for: the next collection
 * of its own comes an hour after the start. A deploy holds its image in the same way until its release is stored.
 *
 * **A kill at any point** leaves nothing broken: names go before bytes, tags before manifests, indexes before their
 * manifests, and every step is one durable removal that the next run finds done. What is left over is collected then.
 *
 * A manifest that stays and cannot be read hides what it names: its repository is left alone and reported.
 *
 * Others: `distribution` marks and sweeps too, but only while nothing is pushed; zot works per repository with a delay, as here;
 * Harbor has a window of two hours and takes a HEAD of a blob as a sign of a push.
 */
export async function collectGarbage(storage: Storage, options: CollectOptions): Promise<Collected> {
  const { isDryRun = false, signal } = options;
  const repositories: CollectedRepository[] = [];
  const skipped: { repository: string; reason: string }[] = [];
  const named = new Set<Digest>();
  // Read before the names: a release that is stored later has its image held.
  const needs = await storage.needs();
  for (const repository of await storage.repositories.listRepositories()) {
    signal?.throwIfAborted();
    const names = await readNames(storage.repositories, repository);
    const needed = new Set(needs.filter((need) => need.repository === repository).map(({ digest }) => digest));
    const plan = planCollection(names, rulesOf(storage, options, { needed, isCopied: storage.isCopied(repository) }));
    if ('unreadable' in plan) {
      skipped.push({ repository, reason: `manifest '${plan.unreadable}' is needed and cannot be read` });
      for (const { digest } of [...names.manifests, ...names.blobs]) named.add(digest);
      continue;
    }
    for (const digest of plan.left) named.add(digest);
    const removed = isDryRun ? summarise(repository, plan) : await execute(storage, { repository, plan, signal });
    if (removed.tags.length + removed.manifests.length + removed.blobs > 0) repositories.push(removed);
  }
  return { isDryRun, repositories, skipped, ...(await sweepBytes(storage, named, options)) };
}

type RulesFor = { readonly needed: ReadonlySet<Digest>; readonly isCopied: boolean };

/** Copies come again when they are asked for, so their last use alone decides. */
function rulesOf(storage: Storage, { untaggedMs, keepTags, copiedMs }: CollectOptions, { needed, isCopied }: RulesFor): Rules {
  const common = { now: storage.now(), graceMs: GRACE_MS, needed, isSpared: storage.isSpared };
  if (isCopied) return { ...common, untaggedMs: copiedMs ?? Number.POSITIVE_INFINITY, keepTags: undefined, unusedMs: copiedMs };
  return { ...common, untaggedMs, keepTags, unusedMs: undefined };
}

async function readNames(repositories: OwnedRepositories, repository: string): Promise<Names> {
  // Tags last: a manifest that is pushed meanwhile is then at worst one that the plan does not know.
  const blobs = await repositories.listBlobs(repository);
  const manifests = await repositories.listManifests(repository);
  const tags = await repositories.listNamedTags(repository);
  const contents = new Map<Digest, Content | undefined>();
  for (const { digest } of manifests) contents.set(digest, await readContent(repositories, digest));
  return { tags, manifests, blobs, contents };
}

async function readContent(repositories: OwnedRepositories, digest: Digest): Promise<Content | undefined> {
  // Damaged or missing: the plan decides what that means, and says so in the report.
  const manifest = await repositories.readManifest(digest).catch(() => undefined);
  if (!manifest) return undefined;
  const { manifests, blobs, subject } = partsOf(manifest);
  return { manifests: manifests.map((part) => part.digest), blobs: blobs.map((part) => part.digest), subject };
}

function summarise(repository: string, { tags, manifests, blobs }: Plan): CollectedRepository {
  return { repository, tags: tags.map(({ tag }) => tag), manifests, blobs: blobs.length };
}

interface Execution {
  readonly repository: string;
  readonly plan: Plan;
  readonly signal: AbortSignal | undefined;
}

async function execute(storage: Storage, { repository, plan, signal }: Execution): Promise<CollectedRepository> {
  const { repositories } = storage;
  for (const named of plan.tags) {
    signal?.throwIfAborted();
    await storage.inTurn(tagTurn(repository, named.tag), () => repositories.dropTag(repository, named));
  }
  const manifests = await removeEach(storage, { digests: plan.manifests, signal }, (digest) =>
    repositories.deleteManifest(repository, digest),
  );
  // One that is looked at again since the plan was made keeps its blobs; the next collection decides anew.
  const isWhole = manifests.length === plan.manifests.length;
  const blobs = await removeEach(storage, { digests: isWhole ? plan.blobs : [], signal }, (digest) =>
    repositories.unlinkBlob(repository, digest),
  );
  return { repository, tags: plan.tags.map(({ tag }) => tag), manifests, blobs: blobs.length };
}

interface Removal {
  readonly digests: readonly Digest[];
  readonly signal: AbortSignal | undefined;
}

/** Removes each that nobody looked at since; gives those that went. */
async function removeEach(storage: Storage, { digests, signal }: Removal, remove: (digest: Digest) => Promise<void>) {
  const removed: Digest[] = [];
  for (const digest of digests) {
    signal?.throwIfAborted();
    await storage.inTurn(digest, async () => {
      if (storage.isSpared(digest)) return;
      await remove(digest).catch(unlessGone);
      removed.push(digest);
    });
  }
  return removed;
}

/** Somebody else removed it meanwhile. */
function unlessGone(thrown: unknown): void {
  if (!(thrown instanceof WherryError && thrown.code === 'MANIFEST_UNKNOWN')) throw thrown;
}

/** Bytes that no repository names and nobody is about to name. */
async function sweepBytes(storage: Storage, named: ReadonlySet<Digest>, { isDryRun, signal }: CollectOptions) {
  const total = { blobs: 0, freedBytes: 0 };
  for await (const { digest, size, writtenAt } of storage.files.list()) {
    signal?.throwIfAborted();
    if (named.has(digest) || storage.now() - writtenAt < GRACE_MS || storage.isSpared(digest)) continue;
    await storage.inTurn(digest, async () => {
      if (!isDryRun && (storage.isSpared(digest) || (await storage.repositories.isUsed(digest)))) return;
      if (!isDryRun) await storage.files.remove(digest);
      total.blobs++;
      total.freedBytes += size;
    });
  }
  return total;
}

/** The turn in which a tag is written or removed. */
export function tagTurn(repository: string, tag: string): string {
  return `${repository}:${tag}`;
}
