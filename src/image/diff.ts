import type { ImageConfig } from '../oci/manifest.js';
import type { ImageContents } from './contents.js';
import type { Package } from './packages.js';
import { showEnvironment } from './secrets.js';
import type { ImageSource } from './source.js';
import type { ImageFile } from './tree.js';

/** How a second image differs from a first. Sizes in bytes. */
export interface ImageDiff {
  readonly isSame: boolean;
  /** Compressed, of all layers: the second less the first. */
  readonly sizeDelta: number;
  readonly layersShared: number;
  readonly layersNew: number;
  readonly files: {
    readonly added: readonly ChangedFile[];
    readonly removed: readonly ChangedFile[];
    /** Other content, mode or target; those that grew most come first. */
    readonly changed: readonly ChangedFile[];
  };
  readonly packages: readonly ChangedPackage[];
  readonly config: readonly ChangedSetting[];
}

export interface ChangedFile {
  readonly path: string;
  readonly sizeBytes: number;
  /** What the image grows by with it. */
  readonly delta: number;
}

export interface ChangedPackage {
  readonly kind: string;
  readonly name: string;
  /** All versions of the first image, with commas; null when it has none. */
  readonly before: string | null;
  readonly after: string | null;
}

export interface ChangedSetting {
  /** `env PATH`, `label x`, `entrypoint`. */
  readonly name: string;
  readonly before: string | null;
  readonly after: string | null;
}

export interface ComparedImage {
  readonly source: ImageSource;
  readonly contents: ImageContents;
}

/** Compares two images whose contents were read to be compared (feature B13). */
export function diffImages(before: ComparedImage, after: ComparedImage): ImageDiff {
  const known = new Set(before.source.layers.map(({ descriptor }) => descriptor.digest));
  const layersShared = after.source.layers.filter(({ descriptor }) => known.has(descriptor.digest)).length;
  return {
    isSame: before.source.descriptor.digest === after.source.descriptor.digest,
    sizeDelta: sizeOf(after.source) - sizeOf(before.source),
    layersShared,
    layersNew: after.source.layers.length - layersShared,
    files: diffFiles(before.contents.files, after.contents.files),
    packages: diffPairs(versionsOf(before.contents.packages), versionsOf(after.contents.packages)).map(({ name, ...versions }) => {
      const [kind = '', ...rest] = name.split(' ');
      return { kind, name: rest.join(' '), ...versions };
    }),
    config: diffPairs(settingsOf(before.source.config), settingsOf(after.source.config)),
  };
}

function sizeOf({ layers }: ImageSource): number {
  return layers.reduce((total, { descriptor }) => total + descriptor.size, 0);
}

function diffFiles(before: readonly ImageFile[], after: readonly ImageFile[]): ImageDiff['files'] {
  const old = new Map(before.filter(isContent).map((file) => [file.path, file]));
  const added: ChangedFile[] = [];
  const changed: ChangedFile[] = [];
  for (const file of after.filter(isContent)) {
    const was = old.get(file.path);
    old.delete(file.path);
    if (!was) added.push({ path: file.path, sizeBytes: file.size, delta: file.size });
    else if (!isEqual(was, file)) changed.push({ path: file.path, sizeBytes: file.size, delta: file.size - was.size });
  }
  const removed = [...old.values()].map(({ path, size }) => ({ path, sizeBytes: size, delta: -size }));
  const byDelta = (a: ChangedFile, b: ChangedFile) => b.delta - a.delta || (a.path < b.path ? -1 : 1);
  return { added: added.sort(byDelta), removed: removed.sort((a, b) => byDelta(b, a)), changed: changed.sort(byDelta) };
}

const isContent = ({ type }: ImageFile) => type !== 'directory';

function isEqual(a: ImageFile, b: ImageFile): boolean {
  return a.type === b.type && a.mode === b.mode && a.size === b.size && a.target === b.target && a.content === b.content;
}

type Pairs = ReadonlyMap<string, string>;

function diffPairs(before: Pairs, after: Pairs): readonly ChangedSetting[] {
  const names = [...new Set([...before.keys(), ...after.keys()])].sort();
  return names
    .map((name) => ({ name, before: before.get(name) ?? null, after: after.get(name) ?? null }))
    .filter((pair) => pair.before !== pair.after);
}

function versionsOf(packages: readonly Package[]): Pairs {
  const versions = new Map<string, Set<string>>();
  for (const { kind, name, version } of packages) {
    const key = `${kind} ${name}`;
    versions.set(key, (versions.get(key) ?? new Set()).add(version));
  }
  return new Map([...versions].map(([key, found]) => [key, [...found].sort().join(', ')]));
}

function settingsOf({ config = {}, architecture, os }: ImageConfig): Pairs {
  const words = (value: readonly string[] | undefined) => (value?.length ? JSON.stringify(value) : undefined);
  const plain: Readonly<Record<string, string | undefined>> = {
    platform: `${os}/${architecture}`,
    entrypoint: words(config.Entrypoint),
    cmd: words(config.Cmd),
    user: config.User || undefined,
    workdir: config.WorkingDir || undefined,
  };
  return new Map([
    ...Object.entries(plain).flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const])),
    ...showEnvironment(config.Env).map(({ name, value }) => [`env ${name}`, value] as const),
    ...Object.entries(config.Labels ?? {}).map(([name, value]) => [`label ${name}`, value] as const),
  ]);
}
