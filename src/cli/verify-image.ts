import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { WherryError } from '../base/errors.js';
import type { BuiltImage, PlatformImage } from '../build/built-image.js';
import { checkOut } from '../build/git.js';
import { type ImageSet, type ImageSource, openImages } from '../image/source.js';
import type { Digest } from '../oci/digest.js';
import type { ImageConfig } from '../oci/manifest.js';
import { formatPlatform, isPlatform } from '../oci/platform.js';
import { readProject } from '../project/read.js';
import type { Context } from './command.js';
import { openNamedReader } from './image-source.js';
import { buildProject } from './project-image.js';

/** What building an image again said of it. */
export interface Verdict {
  /** As it was asked for. */
  readonly image: string;
  readonly digest: Digest;
  readonly rebuilt: Digest;
  /** Commit id that the image records. */
  readonly revision: string;
  /** The same manifest, so the same compressor, too. */
  readonly sameDigest: boolean;
  /** Equal config and diffIDs: a container sees the same. */
  readonly sameContent: boolean;
  /** What differs, a sentence each. */
  readonly differences: readonly string[];
}

type Needs = Pick<Context, 'environment' | 'settings' | 'client' | 'output' | 'signal'>;

/**
 * Builds the revision that an image records, from the repository around `dir`, with nothing remembered of earlier builds, and compares; of an
 * index every platform.
 * Throws IMAGE_UNKNOWN, IMAGE_UNVERIFIABLE for an image that records no revision, NOT_FOUND for a revision git does not know, BUILD_FAILED.
 */
export async function verifyImage(name: string, dir: string, needs: Needs): Promise<Verdict> {
  const { reader, reference, close } = await openNamedReader(name, needs);
  try {
    const found = await openImages(reader, { reference, name });
    const { revision, epoch } = recordedOf(name, found.images[0]?.source.config);
    const built = await rebuild({ dir: resolve(dir), revision, epoch, needs });
    return { image: name, revision, ...compare(found, built) };
  } finally {
    await close();
  }
}

/** The inputs of a build that are in its labels (OCI image-spec, annotations.md). */
function recordedOf(name: string, config: ImageConfig | undefined) {
  const labels = config?.config?.Labels ?? {};
  const revision = labels['org.opencontainers.image.revision'];
  const created = Date.parse(labels['org.opencontainers.image.created'] ?? '');
  if (revision !== undefined && /^[0-9a-f]{7,64}$/.test(revision))
    return { revision, epoch: Number.isNaN(created) ? undefined : created / 1000 };
  throw new WherryError('IMAGE_UNVERIFIABLE', `image '${name}' records no source revision`, {
    hint: 'it was built outside git, or with changes that were not committed; commit, build and push again',
  });
}

interface Rebuild {
  readonly dir: string;
  readonly revision: string;
  /** Seconds; undefined for the commit's time. */
  readonly epoch: number | undefined;
  readonly needs: Needs;
}

async function rebuild({ dir, revision, epoch, needs: { environment, output, signal } }: Rebuild): Promise<BuiltImage> {
  const checkedOut = await checkOut(dir, revision);
  try {
    const dataDir = await mkdtemp(join(tmpdir(), 'wherry-verify-'));
    try {
      const project = await readProject(checkedOut.dir);
      const dated = { ...environment, ...(epoch !== undefined && { SOURCE_DATE_EPOCH: String(epoch) }) };
      const place = { dataDir, environment: dated, signal };
      return await buildProject(project, place, { isFresh: true, report: (line) => output.talk(`  ${line}`) });
    } finally {
      await rm(dataDir, { recursive: true, force: true });
    }
  } finally {
    await checkedOut.remove();
  }
}

function compare({ descriptor: { digest }, isIndex, images }: ImageSet, built: BuiltImage): Omit<Verdict, 'image' | 'revision'> {
  const pairs = images.map(({ platform, source }) => ({
    platform,
    source,
    here: built.images.find((image) => isPlatform(image.platform, platform)),
  }));
  // One platform of an index may be named alone, as releases do.
  const lacking = isIndex ? built.images.filter((image) => !pairs.some(({ here }) => here === image)) : [];
  const differences = [
    ...pairs.flatMap(({ platform, source, here }) => {
      const found = here ? differencesOf(source, here) : ['the revision builds nothing for it'];
      return isIndex || !here ? found.map((line) => `${formatPlatform(platform)}: ${line}`) : found;
    }),
    ...lacking.map(({ platform }) => `${formatPlatform(platform)}: it is not in the image`),
  ];
  const rebuilt = isIndex ? built.digest : (pairs[0]?.here?.descriptor.digest ?? built.digest);
  return { digest, rebuilt, sameDigest: digest === rebuilt, sameContent: differences.length === 0, differences };
}

function differencesOf({ config, layers }: ImageSource, here: PlatformImage): readonly string[] {
  const diffIds = here.config.rootfs.diff_ids;
  return [
    ...(layers.length === diffIds.length ? [] : [`it has ${layers.length} layers, here ${diffIds.length}`]),
    ...layers.flatMap(({ diffId }, index) => {
      const other = diffIds[index];
      return other === undefined || other === diffId ? [] : [`layer ${index + 1} (${madeBy(here, other)}) is ${diffId}, here ${other}`];
    }),
    ...differingSettings(config, here.config).map((key) => `config: ${key} differs`),
  ];
}

function madeBy({ layers }: PlatformImage, diffId: string): string {
  return layers.find((layer) => layer.diffId === diffId)?.role ?? 'of the base';
}

/** Settings that differ by name; which layers there are was compared before. */
function differingSettings(theirs: ImageConfig, ours: ImageConfig): readonly string[] {
  const { rootfs: _theirs, config: first = {}, ...before } = theirs;
  const { rootfs: _ours, config: second = {}, ...after } = ours;
  return [...differingKeys(before, after), ...differingKeys(first, second)];
}

function differingKeys(first: object, second: object): readonly string[] {
  const [before, after] = [new Map(Object.entries(first)), new Map(Object.entries(second))];
  return [...new Set([...before.keys(), ...after.keys()])].filter((key) => !isDeepStrictEqual(before.get(key), after.get(key)));
}
