import { type Descriptor, isDistributable } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { partsOf } from './parts.js';
import type { Storage } from './storage.js';

/** What was found wrong with a digest. */
const FAULTS = ['damaged', 'missing', 'size', 'unreadable'] as const;
export type FaultKind = (typeof FAULTS)[number];

export interface Fault {
  readonly kind: 'fault';
  readonly fault: FaultKind;
  readonly digest: Digest;
  /** One sentence for people. */
  readonly message: string;
  /** `repository:tag`, `repository@digest` and releases, sorted; empty when nothing that is named needs it. */
  readonly neededBy: readonly string[];
  /** Where the damaged bytes were moved to; null when they were left. */
  readonly setAside: string | null;
}

export interface VerifyProgress {
  readonly kind: 'progress';
  readonly blobs: number;
  readonly bytes: number;
  readonly totalBlobs: number;
  readonly totalBytes: number;
}

export interface VerifyEnd {
  readonly kind: 'end';
  readonly blobs: number;
  readonly bytes: number;
  readonly faults: number;
}

export type VerifyEvent = Fault | VerifyProgress | VerifyEnd;

export interface VerifyOptions {
  /** Moves damaged bytes to a quarantine folder, so that the next push or pull of the blob brings sound ones. */
  readonly isRepairing?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Looks at everything the registry holds: hashes every blob again whatever was hashed before, then follows tags, manifests
 * and kept releases to their parts. Progress comes after each blob, faults after the walk, `end` last. Changes nothing
 * unless it repairs, and then deletes nothing. Pushes and removals may go on meanwhile.
 */
export async function* verifyAll(storage: Storage, options: VerifyOptions): AsyncIterable<VerifyEvent> {
  const { blobs, bytes, damaged } = yield* hashAll(storage, options);
  const found = await walkNames(storage, damaged);
  for (const [digest, { fault, message, uses }] of found) {
    const isRepaired = options.isRepairing === true && fault === 'damaged';
    const setAside = isRepaired ? await setAsideDamaged(storage, digest) : null;
    yield { kind: 'fault', fault, digest, message, neededBy: [...uses].sort(), setAside };
  }
  yield { kind: 'end', blobs, bytes, faults: found.size };
}

async function* hashAll({ files }: Storage, { signal }: VerifyOptions) {
  const stored = new Map<Digest, number>();
  for await (const { digest, size } of files.list()) stored.set(digest, size);
  const totalBytes = [...stored.values()].reduce((sum, size) => sum + size, 0);
  const damaged = new Map<Digest, string>();
  const done = { blobs: 0, bytes: 0 };
  for (const [digest, size] of stored) {
    signal?.throwIfAborted();
    const actual = await files.hash(digest);
    if (actual !== undefined && actual !== digest) damaged.set(digest, actual);
    done.blobs++;
    done.bytes += size;
    yield { kind: 'progress', ...done, totalBlobs: stored.size, totalBytes } satisfies VerifyEvent;
  }
  return { ...done, damaged };
}

interface Finding {
  readonly fault: FaultKind;
  readonly message: string;
}

/** Something that must be whole: what it is called, and whether it still is there. */
interface Root {
  readonly repository: string;
  readonly digest: Digest;
  readonly use: string;
  readonly isStill: () => Promise<boolean>;
}

/** Every digest with a fault, and who needs it. */
async function walkNames(storage: Storage, damaged: ReadonlyMap<Digest, string>) {
  const found = new Map<Digest, Finding & { readonly uses: Set<string> }>();
  for (const [digest, actual] of damaged)
    found.set(digest, { fault: 'damaged', message: `its bytes hash to '${actual}'`, uses: new Set() });
  for await (const { isStill, use, ...root } of listRoots(storage)) {
    const faults = new Map<Digest, Finding>();
    await walkManifest({ storage, damaged, faults, repository: root.repository, mayLack: storage.isCopied(root.repository) }, root.digest);
    // What somebody removed while we walked is no fault.
    if (faults.size === 0 || !(await isStill())) continue;
    for (const [digest, finding] of faults) {
      const known = found.get(digest) ?? { ...finding, uses: new Set() };
      known.uses.add(use);
      found.set(digest, known);
    }
  }
  return found;
}

async function* listRoots({ repositories, needs }: Storage): AsyncIterable<Root> {
  for (const repository of await repositories.listRepositories()) {
    const untagged = new Set((await repositories.listManifests(repository)).map(({ digest }) => digest));
    for (const { digest, tag } of await repositories.listNamedTags(repository)) {
      untagged.delete(digest);
      const isStill = async () => (await repositories.listNamedTags(repository)).some((now) => now.tag === tag && now.digest === digest);
      yield { repository, digest, use: `${repository}:${tag}`, isStill };
    }
    for (const digest of untagged)
      yield { repository, digest, use: `${repository}@${digest}`, isStill: () => repositories.hasManifest(repository, digest) };
  }
  for (const { by, repository, digest } of await needs()) yield { repository, digest, use: by, isStill: async () => true };
}

interface Walk {
  readonly storage: Storage;
  readonly damaged: ReadonlyMap<Digest, string>;
  readonly repository: string;
  /** Copies need not be whole: what is missing comes when it is asked for. */
  readonly mayLack: boolean;
  /** Filled by the walk. */
  readonly faults: Map<Digest, Finding>;
}

/** A manifest and everything below it. */
async function walkManifest(walk: Walk, digest: Digest): Promise<void> {
  const { storage, repository, faults, mayLack } = walk;
  if (!(await isSound(walk, { digest }))) return;
  if (!(await storage.repositories.hasManifest(repository, digest))) {
    if (mayLack) return;
    faults.set(digest, { fault: 'missing', message: `repository '${repository}' has no such manifest` });
    return;
  }
  const parts = await storage.repositories.readManifest(digest).then(partsOf, () => undefined);
  if (!parts) {
    faults.set(digest, { fault: 'unreadable', message: 'its bytes are no manifest' });
    return;
  }
  for (const part of parts.blobs.filter(isDistributable)) await isSound(walk, part);
  for (const child of parts.manifests) if (await isSound(walk, child)) await walkManifest(walk, child.digest);
}

/** Whether the bytes are here, of the digest, and as many as the manifest says. */
async function isSound(walk: Walk, { digest, size }: Pick<Descriptor, 'digest'> & Partial<Descriptor>): Promise<boolean> {
  const { storage, damaged, faults, mayLack } = walk;
  const found = await storage.files.has(digest);
  const add = (fault: FaultKind, message: string) => void faults.set(digest, { fault, message });
  if (!found && mayLack) return false;
  if (!found) add('missing', 'its bytes are not on disk');
  else if (damaged.has(digest)) add('damaged', `its bytes hash to '${damaged.get(digest)}'`);
  else if (size !== undefined && found.size !== size) add('size', `a manifest gives it ${size} bytes, it has ${found.size}`);
  return !faults.has(digest);
}

/** In the turn of its digest and hashed once more: sound bytes may have come since. */
function setAsideDamaged({ files, inTurn }: Storage, digest: Digest): Promise<string | null> {
  return inTurn(digest, async () => {
    const actual = await files.hash(digest);
    return actual === undefined || actual === digest ? null : files.setAside(digest);
  });
}
