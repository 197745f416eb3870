import { formatPlatform } from '../oci/platform.js';
import type { ImageContents } from './contents.js';
import type { Package } from './packages.js';
import { maskWords, showEnvironment } from './secrets.js';
import type { ImageSource } from './source.js';
import type { ImageFile } from './tree.js';

/** How a second image differs from a first. Sizes in bytes; deltas are positive when the second has more. */
export interface ImageDifference {
  readonly files: {
    readonly added: readonly SizedFile[];
    readonly removed: readonly SizedFile[];
    /** The most grown first. */
    readonly changed: readonly ChangedFile[];
    /** Bytes of files that a container sees. */
    readonly deltaBytes: number;
  };
  readonly packages: {
    readonly added: readonly NamedVersion[];
    readonly removed: readonly NamedVersion[];
    readonly changed: readonly ChangedPackage[];
  };
  readonly config: readonly ChangedSetting[];
  readonly layers: { readonly shared: number; readonly sharedBytes: number; readonly onlyFirst: number; readonly onlySecond: number };
  /** Of the layers as they travel. */
  readonly deltaBytes: number;
}

export interface SizedFile {
  readonly path: string;
  readonly sizeBytes: number;
}

export interface ChangedFile extends SizedFile {
  readonly deltaBytes: number;
  /** What differs. */
  readonly what: readonly ('type' | 'content' | 'mode' | 'target')[];
}

export interface NamedVersion {
  readonly kind: Package['kind'];
  readonly name: string;
  readonly version: string;
}

export interface ChangedPackage {
  readonly kind: Package['kind'];
  readonly name: string;
  /** Several when an image holds several. */
  readonly from: readonly string[];
  readonly to: readonly string[];
}

/** `before` or `after` is null for what is only in the other image. Values of secrets are masked. */
export interface ChangedSetting {
  /** For instance `env.PATH`, `labels.dev.wherry.handler`, `entrypoint`. */
  readonly name: string;
  readonly before: string | null;
  readonly after: string | null;
}

/** An image with what was read of its layers; files must tell equal content from other content. */
export interface ComparedImage {
  readonly source: ImageSource;
  readonly contents: ImageContents;
}

/** Compares two images by what a container sees, by packages, by settings and by layers. */
export function compareImages(first: ComparedImage, second: ComparedImage): ImageDifference {
  const sizeOf = ({ source }: ComparedImage) => source.layers.reduce((total, { descriptor }) => total + descriptor.size, 0);
  return {
    files: compareFiles(first.contents.files, second.contents.files),
    packages: comparePackages(first.contents.packages, second.contents.packages),
    config: compareSettings(first.source, second.source),
    layers: compareLayers(first.source, second.source),
    deltaBytes: sizeOf(second) - sizeOf(first),
  };
}

function compareFiles(before: readonly ImageFile[], after: readonly ImageFile[]): ImageDifference['files'] {
  const known = new Map(before.map((file) => [file.path, file]));
  const kept = new Set(after.map(({ path }) => path));
  const added = after.filter(({ path }) => !known.has(path)).map(sized);
  const removed = before.filter(({ path }) => !kept.has(path)).map(sized);
  const changed = after.flatMap((file) => {
    const old = known.get(file.path);
    const what = old === undefined ? [] : differences(old, file);
    return what.length === 0 ? [] : [{ ...sized(file), deltaBytes: file.size - (old?.size ?? 0), what }];
  });
  changed.sort((a, b) => b.deltaBytes - a.deltaBytes);
  const total = (files: readonly ImageFile[]) => files.reduce((bytes, { size }) => bytes + size, 0);
  return { added, removed, changed, deltaBytes: total(after) - total(before) };
}

function sized({ path, size }: ImageFile): SizedFile {
  return { path, sizeBytes: size };
}

function differences(before: ImageFile, after: ImageFile): ChangedFile['what'] {
  if (before.type !== after.type) return ['type'];
  const what: ChangedFile['what'][number][] = [];
  if (before.size !== after.size || before.content !== after.content) what.push('content');
  if (before.mode !== after.mode) what.push('mode');
  if (before.target !== after.target) what.push('target');
  return what;
}

function comparePackages(before: readonly Package[], after: readonly Package[]): ImageDifference['packages'] {
  const [old, now] = [versionsOf(before), versionsOf(after)];
  const onlyIn = (packages: readonly Package[], others: ReadonlyMap<string, readonly string[]>) =>
    packages.filter((found) => !others.has(keyOf(found))).map(({ kind, name, version }) => ({ kind, name, version }));
  const changed = [...new Map(after.map((found) => [keyOf(found), found])).values()].flatMap((found) => {
    const [from, to] = [old.get(keyOf(found)) ?? [], now.get(keyOf(found)) ?? []];
    return from.length === 0 || from.join('\0') === to.join('\0') ? [] : [{ kind: found.kind, name: found.name, from, to }];
  });
  return { added: onlyIn(after, old), removed: onlyIn(before, now), changed };
}

function keyOf({ kind, name }: Package): string {
  return `${kind}\0${name}`;
}

function versionsOf(packages: readonly Package[]): ReadonlyMap<string, readonly string[]> {
  const versions = new Map<string, string[]>();
  for (const found of packages) {
    const known = versions.get(keyOf(found));
    if (known === undefined) versions.set(keyOf(found), [found.version]);
    else if (!known.includes(found.version)) known.push(found.version);
  }
  return versions;
}

function compareSettings(first: ImageSource, second: ImageSource): readonly ChangedSetting[] {
  const [before, after] = [settingsOf(first), settingsOf(second)];
  const names = [...new Set([...before.keys(), ...after.keys()])].sort();
  return names.flatMap((name) => {
    const [old, now] = [before.get(name), after.get(name)];
    return old?.actual === now?.actual ? [] : [{ name, before: old?.shown ?? null, after: now?.shown ?? null }];
  });
}

/** What is compared, and what of it is shown: two secrets that differ look alike. */
interface Setting {
  readonly actual: string;
  readonly shown: string;
}

function settingsOf({ config }: ImageSource): ReadonlyMap<string, Setting> {
  const { Entrypoint, Cmd, User, WorkingDir, Labels = {}, Env = [] } = config.config ?? {};
  const plain: readonly (readonly [string, string | undefined])[] = [
    ['platform', formatPlatform(config)],
    ['user', User || undefined],
    ['workdir', WorkingDir || undefined],
    ...Object.entries(Labels ?? {}).map(([name, value]) => [`labels.${name}`, value] as const),
  ];
  const commands = Object.entries({ entrypoint: Entrypoint, cmd: Cmd }).flatMap(([name, words]) =>
    words ? [[name, { actual: JSON.stringify(words), shown: JSON.stringify(maskWords(words)) }] as const] : [],
  );
  const variables = showEnvironment(Env ?? []).map(({ name, value }, index) => {
    return [`env.${name}`, { actual: Env?.[index] ?? '', shown: value }] as const;
  });
  return new Map([
    ...plain.flatMap(([name, value]) => (value ? [[name, { actual: value, shown: value }] as const] : [])),
    ...commands,
    ...variables,
  ]);
}

function compareLayers({ layers: before }: ImageSource, { layers: after }: ImageSource): ImageDifference['layers'] {
  const known = new Set(before.map(({ diffId }) => diffId));
  const shared = after.filter(({ diffId }) => known.has(diffId));
  const sharedBytes = shared.reduce((total, { descriptor }) => total + descriptor.size, 0);
  const kept = new Set(after.map(({ diffId }) => diffId));
  return {
    shared: shared.length,
    sharedBytes,
    onlyFirst: before.filter(({ diffId }) => !kept.has(diffId)).length,
    onlySecond: after.length - shared.length,
  };
}
