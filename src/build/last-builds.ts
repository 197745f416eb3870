import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCodeOf, WherryError } from '../base/errors.js';
import { type Digest, isDigest } from '../oci/digest.js';
import { blobsDirOf, type NamedManifest } from '../oci/layout.js';
import { isIndex, parseImageConfig, parseManifest } from '../oci/manifest.js';
import { readMemory } from './layers.js';
import { treeNoteOf } from './npm.js';

/** The names of the projects whose last builds need the file or directory of a name; undefined for nobody. */
export type NeedOf = (name: string) => readonly string[] | undefined | Promise<readonly string[] | undefined>;

/** What the last builds of projects are made of, and what the next ones begin with. */
export interface Needs {
  /** By the hex digits of a digest. */
  readonly blobs: NeedOf;
  /** By directories of the cache. */
  readonly caches: Readonly<Record<string, NeedOf>>;
}

type Places = { readonly layoutDir: string; readonly cacheDir: string };

/**
 * Needed are the blobs of an image; manifests and configs of its base; what is remembered of its layers, which are not packed again as long as
 * they are remembered; and the packages that npm installed for it.
 */
export async function readNeeds(refs: readonly NamedManifest[], { layoutDir, cacheDir }: Places): Promise<Needs> {
  const blobs = new Map<string, readonly string[]>();
  const trees = new Map<string, readonly string[]>();
  for (const { name, digest } of refs) {
    for (const hex of (await blobsOf(layoutDir, digest)).map(hexOf)) blobs.set(hex, [...(blobs.get(hex) ?? []), name]);
    const tree = (await readOr(treeNoteOf(cacheDir, name)))?.toString();
    if (tree !== undefined) trees.set(tree, [...(trees.get(tree) ?? []), name]);
  }
  const names = new Set(refs.map(({ name }) => name));
  const blobOf: NeedOf = (hex) => blobs.get(hex);
  return {
    blobs: blobOf,
    caches: {
      layers: async (name) => {
        const known = await readMemory(join(cacheDir, 'layers', name));
        return known && blobOf(hexOf(known.digest));
      },
      npm: (name) => trees.get(name),
      trees: (name) => (names.has(name) ? [name] : undefined),
    },
  };
}

const hexOf = (digest: Digest) => digest.slice('sha256:'.length);

/** What an image or index is made of, whether it is here or not; files are read without the layout, for which that would be a use. */
async function blobsOf(layoutDir: string, digest: Digest): Promise<readonly Digest[]> {
  const manifest = await parsed(layoutDir, digest, parseManifest);
  if (!manifest) return [];
  const inner = isIndex(manifest) ? manifest.manifests.map((each) => each.digest) : await baseOf(layoutDir, manifest.config.digest);
  const parts = isIndex(manifest) ? [] : [manifest.config, ...manifest.layers].map((part) => part.digest);
  const below = await Promise.all(inner.map((each) => blobsOf(layoutDir, each)));
  return [digest, ...parts, ...below.flat()];
}

async function baseOf(layoutDir: string, config: Digest): Promise<readonly Digest[]> {
  const labels = (await parsed(layoutDir, config, parseImageConfig))?.config?.Labels;
  const base = labels?.['org.opencontainers.image.base.digest'];
  return base !== undefined && isDigest(base) ? [base] : [];
}

/** One that is not here, or is damaged, needs nothing. */
async function parsed<T>(layoutDir: string, digest: Digest, parse: (bytes: Uint8Array) => T): Promise<T | undefined> {
  const bytes = await readOr(join(blobsDirOf(layoutDir), hexOf(digest)));
  try {
    return bytes && parse(bytes);
  } catch (thrown) {
    if (thrown instanceof WherryError) return undefined;
    throw thrown;
  }
}

async function readOr(file: string): Promise<Buffer | undefined> {
  return readFile(file).catch((thrown: unknown) => {
    if (['ENOENT', 'ENOTDIR'].includes(systemCodeOf(thrown) ?? '')) return undefined;
    throw thrown;
  });
}
