import { WherryError } from '../base/errors.js';
import { once } from '../base/once.js';
import type { Descriptor } from '../oci/descriptor.js';
import { type Digest, isDigest, parseDigest } from '../oci/digest.js';
import { type Index, isIndex, type Manifest, parseManifest } from '../oci/manifest.js';
import { isTag } from '../oci/reference.js';
import { type OwnedBlobFiles, writeDurable } from './blob-files.js';
import { subjectOf } from './parts.js';
import {
  hasEntry,
  listDatedEntries,
  listEntries,
  openRepositoryTree,
  type RepositoryTree,
  readEntry,
  removeEntry,
  touchEntry,
} from './repository-tree.js';

/** The largest manifest that is stored or read, in bytes (distribution-spec, "Pushing Manifests"). */
export const MANIFEST_LIMIT_BYTES = 4 * 1024 * 1024;

export interface StoredManifest {
  readonly bytes: Buffer;
  readonly digest: Digest;
  readonly mediaType: string;
}

/** Names over blobs: which repository shows which blob, manifest and tag. Every change is durable when its promise resolves. */
export interface Repositories {
  /** Makes a blob visible in a repository; idempotent. */
  linkBlob(repository: string, digest: Digest): Promise<void>;
  isLinked(repository: string, digest: Digest): Promise<boolean>;
  /** Stores a manifest, its referrer entry, and points the tag at it last; the time without a tag of the one it pointed at begins. Throws MANIFEST_INVALID, DIGEST_MISMATCH, NAME_INVALID. */
  putManifest(repository: string, digest: Digest, bytes: Uint8Array, named: ManifestName): Promise<void>;
  /** By tag or digest; undefined when the repository has none. The bytes are hashed. Throws DIGEST_MISMATCH. */
  getManifest(repository: string, reference: string): Promise<StoredManifest | undefined>;
  /** A tag with its manifest, or a manifest, counts as written now: for what is kept by its last use. */
  touch(repository: string, reference: string): Promise<void>;
  /** Removes a manifest and the tags that point at it. Throws MANIFEST_UNKNOWN, BLOB_IN_USE. */
  deleteManifest(repository: string, digest: Digest): Promise<void>;
  /** Throws MANIFEST_UNKNOWN. */
  deleteTag(repository: string, tag: string): Promise<void>;
  /** Sorted by bytes; undefined when there is no such repository. */
  listTags(repository: string): Promise<readonly string[] | undefined>;
  /** Sorted by bytes. */
  listRepositories(): Promise<readonly string[]>;
  /** Manifests whose `subject` is `digest`, sorted by digest (distribution-spec, "Listing Referrers"). */
  listReferrers(repository: string, digest: Digest): Promise<readonly Descriptor[]>;
}

/** A name in a repository, and when it was written last, in milliseconds of the machine's clock. */
export interface NamedDigest {
  readonly digest: Digest;
  readonly namedAt: number;
}

export interface NamedTag extends NamedDigest {
  readonly tag: string;
}

export interface ManifestName {
  readonly mediaType: string;
  readonly tag?: string | undefined;
}

/** Repositories with the raw steps that {@link Repositories} guards. */
export interface OwnedRepositories extends Repositories {
  unlinkBlob(repository: string, digest: Digest): Promise<void>;
  /** Whether any repository shows the bytes as blob or manifest. */
  isUsed(digest: Digest): Promise<boolean>;
  /** Everything the repository shows, blobs and manifests. */
  listDigests(repository: string): Promise<readonly Digest[]>;
  /** Tags with what they point at; broken ones are left out. */
  listNamedTags(repository: string): Promise<readonly NamedTag[]>;
  listManifests(repository: string): Promise<readonly NamedDigest[]>;
  listBlobs(repository: string): Promise<readonly NamedDigest[]>;
  hasManifest(repository: string, digest: Digest): Promise<boolean>;
  /** By digest only. Throws BLOB_UNKNOWN, DIGEST_MISMATCH, SIZE_INVALID, MANIFEST_INVALID when it cannot be read. */
  readManifest(digest: Digest): Promise<Manifest | Index>;
  /** Removes a tag if it still points at `digest`; its time without a tag begins. */
  dropTag(repository: string, named: NamedTag): Promise<void>;
  /** Removes the names, not the bytes. */
  removeRepository(repository: string): Promise<void>;
}

export interface RepositoriesOptions {
  readonly files: OwnedBlobFiles;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/**
 * Repositories as directories of `root`, one file an entry. Folder names begin with `_`, which no component of a
 * repository name does, so that `a` and `a/b` live in one tree.
 */
export function openRepositories(root: string, { files, now }: RepositoriesOptions): OwnedRepositories {
  const tree = openRepositoryTree(root);
  const context: Context = { tree, files, now };
  return {
    async linkBlob(repository, digest) {
      const file = tree.blob(repository, digest);
      if ((await readEntry(file)) === undefined) await writeDurable(file, '');
    },
    isLinked: (repository, digest) => hasEntry(tree.blob(repository, digest)),
    unlinkBlob: (repository, digest) => removeEntry(tree.blob(repository, digest)),
    putManifest: (repository, digest, bytes, named) => putManifest(context, { repository, digest, bytes, ...named }),
    async getManifest(repository, reference) {
      const digest = await digestAt(tree, repository, reference);
      const mediaType = digest && (await readEntry(tree.manifest(repository, digest)));
      if (!digest || mediaType === undefined) return undefined;
      return { bytes: await files.read(digest, MANIFEST_LIMIT_BYTES), digest, mediaType };
    },
    async touch(repository, reference) {
      const digest = await digestAt(tree, repository, reference);
      if (digest) await touchEntry(tree.manifest(repository, digest), now());
      if (!isDigest(reference)) await touchEntry(tree.tag(repository, reference), now());
    },
    deleteManifest: (repository, digest) => deleteManifest(context, repository, digest),
    async deleteTag(repository, tag) {
      const digest = await digestAt(tree, repository, tag);
      if (!digest) throw unknownManifest(repository, tag);
      await touchEntry(tree.manifest(repository, digest), now());
      await removeEntry(tree.tag(repository, tag));
    },
    listTags: (repository) => listTags(tree, repository),
    listRepositories: () => tree.listRepositories(),
    listReferrers: (repository, digest) => listReferrers(tree, repository, digest),
    async isUsed(digest) {
      for (const repository of await tree.listRepositories()) {
        if ((await hasEntry(tree.blob(repository, digest))) || (await hasEntry(tree.manifest(repository, digest)))) return true;
      }
      return false;
    },
    listNamedTags: (repository) => listNamedTags(tree, repository),
    hasManifest: (repository, digest) => hasEntry(tree.manifest(repository, digest)),
    listManifests: (repository) => listNamed(tree.manifests(repository)),
    listBlobs: (repository) => listNamed(tree.blobs(repository)),
    readManifest: async (digest) => parseManifest(await files.read(digest, MANIFEST_LIMIT_BYTES)),
    async dropTag(repository, { tag, digest }) {
      if ((await readEntry(tree.tag(repository, tag))) !== digest) return;
      await touchEntry(tree.manifest(repository, digest), now());
      await removeEntry(tree.tag(repository, tag));
    },
    async listDigests(repository) {
      const lists = await Promise.all([tree.blobs(repository), tree.manifests(repository)].map(listEntries));
      return lists.flatMap((names) => names ?? []).flatMap((name) => [`sha256:${name}`].filter(isDigest));
    },
    removeRepository: (repository) => tree.remove(repository),
  };
}

interface Context extends RepositoriesOptions {
  readonly tree: RepositoryTree;
}

interface NewManifest extends ManifestName {
  readonly repository: string;
  readonly digest: Digest;
  readonly bytes: Uint8Array;
}

async function putManifest({ tree, files, now }: Context, { repository, digest, bytes, mediaType, tag }: NewManifest): Promise<void> {
  const manifest = parseManifest(bytes);
  await files.put(digest, once(bytes));
  const subject = subjectOf(manifest);
  const referrer = describeReferrer(manifest, { mediaType, digest, size: bytes.length });
  if (subject) await writeDurable(tree.referrer({ repository, subject, digest }), JSON.stringify(referrer));
  await writeDurable(tree.manifest(repository, digest), mediaType);
  if (tag === undefined) return;
  const before = await readEntry(tree.tag(repository, tag));
  if (before !== undefined && before !== digest && isDigest(before)) await touchEntry(tree.manifest(repository, before), now());
  await writeDurable(tree.tag(repository, tag), digest);
}

async function deleteManifest({ tree, files }: Context, repository: string, digest: Digest): Promise<void> {
  const entry = tree.manifest(repository, digest);
  if (!(await hasEntry(entry))) throw unknownManifest(repository, digest);
  for (const tag of (await listTags(tree, repository)) ?? []) {
    if ((await readEntry(tree.tag(repository, tag))) === digest) await removeEntry(tree.tag(repository, tag));
  }
  const subject = await files.read(digest, MANIFEST_LIMIT_BYTES).then(
    (bytes) => subjectOf(parseManifest(bytes)),
    // A damaged manifest can still be deleted; its entry under the subject then stays and is skipped when listed.
    () => undefined,
  );
  if (subject) await removeEntry(tree.referrer({ repository, subject, digest }));
  await removeEntry(entry);
}

async function digestAt(tree: RepositoryTree, repository: string, reference: string): Promise<Digest | undefined> {
  if (isDigest(reference)) return reference;
  const text = await readEntry(tree.tag(repository, reference));
  return text === undefined ? undefined : parseDigest(text);
}

async function listTags(tree: RepositoryTree, repository: string): Promise<readonly string[] | undefined> {
  const tags = await listEntries(tree.tags(repository));
  if (tags) return tags.filter(isTag);
  return (await listEntries(tree.manifests(repository))) && [];
}

async function listReferrers(tree: RepositoryTree, repository: string, subject: Digest): Promise<readonly Descriptor[]> {
  const names = (await listEntries(tree.referrers(repository, subject))) ?? [];
  const digests = names.map((name) => `sha256:${name}`).filter(isDigest);
  const texts = await Promise.all(
    digests.map(async (digest) => {
      const isKept = await hasEntry(tree.manifest(repository, digest));
      return isKept ? readEntry(tree.referrer({ repository, subject, digest })) : undefined;
    }),
  );
  return texts.filter((text) => text !== undefined).map((text) => JSON.parse(text) as Descriptor);
}

async function listNamed(dir: string): Promise<readonly NamedDigest[]> {
  return (await listDatedEntries(dir)).flatMap(({ name, writtenAt }) => {
    const digest = `sha256:${name}`;
    return isDigest(digest) ? [{ digest, namedAt: writtenAt }] : [];
  });
}

async function listNamedTags(tree: RepositoryTree, repository: string): Promise<readonly NamedTag[]> {
  const entries = (await listDatedEntries(tree.tags(repository))).filter(({ name }) => isTag(name));
  const tags = await Promise.all(
    entries.map(async ({ name: tag, writtenAt: namedAt }) => ({ tag, namedAt, digest: await readEntry(tree.tag(repository, tag)) })),
  );
  return tags.flatMap(({ tag, namedAt, digest }) => (digest !== undefined && isDigest(digest) ? [{ tag, digest, namedAt }] : []));
}

/** The descriptor under which a manifest is listed; without an artifact type of its own, the config's media type stands in. */
function describeReferrer(manifest: Manifest | Index, base: Descriptor): Descriptor {
  const artifactType = manifest.artifactType ?? (isIndex(manifest) ? undefined : manifest.config.mediaType);
  return { ...base, ...(artifactType && { artifactType }), ...(manifest.annotations && { annotations: manifest.annotations }) };
}

/** MANIFEST_UNKNOWN for a tag or digest. */
export function unknownManifest(repository: string, reference: string): WherryError {
  return new WherryError('MANIFEST_UNKNOWN', `repository '${repository}' has no manifest '${reference}'`, {
    detail: { repository, reference },
  });
}
