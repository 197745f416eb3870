import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { WherryError } from '../base/errors.js';
import type { BuiltImage } from '../build/build.js';
import { checkOut } from '../build/git.js';
import type { ImageSource } from '../image/source.js';
import type { Digest } from '../oci/digest.js';
import type { ImageConfig } from '../oci/manifest.js';
import { readProject } from '../project/read.js';
import type { Context } from './command.js';
import { openNamedImage } from './image-source.js';
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

type Needs = Pick<Context, 'environment' | 'settings' | 'client' | 'output'>;

/**
 * Builds the revision that an image records, from the repository around `dir`, with nothing remembered of earlier builds, and compares.
 * Throws IMAGE_UNKNOWN, IMAGE_UNVERIFIABLE for an image that records no revision, NOT_FOUND for a revision git does not know, BUILD_FAILED.
 */
export async function verifyImage(name: string, dir: string, needs: Needs): Promise<Verdict> {
  const named = await openNamedImage(name, undefined, needs);
  try {
    const { source } = named;
    const { revision, epoch } = recordedOf(name, source.config);
    const built = await rebuild({ dir: resolve(dir), revision, epoch, needs });
    return { image: name, revision, ...compare(source, built) };
  } finally {
    await named.close();
  }
}

/** The inputs of a build that are in its labels (OCI image-spec, annotations.md). */
function recordedOf(name: string, { config }: ImageConfig) {
  const revision = config?.Labels?.['org.opencontainers.image.revision'];
  const created = Date.parse(config?.Labels?.['org.opencontainers.image.created'] ?? '');
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

async function rebuild({ dir, revision, epoch, needs: { environment, output } }: Rebuild): Promise<BuiltImage> {
  const [checkedOut, dataDir] = await Promise.all([checkOut(dir, revision), mkdtemp(join(tmpdir(), 'wherry-verify-'))]);
  try {
    const project = await readProject(checkedOut.dir);
    const dated = { ...environment, ...(epoch !== undefined && { SOURCE_DATE_EPOCH: String(epoch) }) };
    return await buildProject(project, { dataDir, environment: dated }, { isFresh: true, report: (line) => output.talk(`  ${line}`) });
  } finally {
    await Promise.all([checkedOut.remove(), rm(dataDir, { recursive: true, force: true })]);
  }
}

function compare({ descriptor, config, layers }: ImageSource, built: BuiltImage): Omit<Verdict, 'image' | 'revision'> {
  const here = built.config.rootfs.diff_ids;
  const differences = [
    ...(layers.length === here.length ? [] : [`it has ${layers.length} layers, here ${here.length}`]),
    ...layers.flatMap(({ diffId }, index) => {
      const other = here[index];
      return other === undefined || other === diffId ? [] : [`layer ${index + 1} (${madeBy(built, other)}) is ${diffId}, here ${other}`];
    }),
    ...differingSettings(config, built.config).map((key) => `config: ${key} differs`),
  ];
  return {
    digest: descriptor.digest,
    rebuilt: built.digest,
    sameDigest: descriptor.digest === built.digest,
    sameContent: differences.length === 0,
    differences,
  };
}

function madeBy({ layers }: BuiltImage, diffId: string): string {
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
