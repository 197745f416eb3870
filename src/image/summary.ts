import type { Digest } from '../oci/digest.js';
import { LABELS } from '../oci/manifest.js';
import { formatPlatform } from '../oci/platform.js';
import type { ImageContents } from './contents.js';
import type { Distribution, Package } from './packages.js';
import { maskCommand, maskWords, type ShownVariable, showEnvironment } from './secrets.js';
import type { ImageSource } from './source.js';

/** What an image is made of, for people and programs. Sizes in bytes. */
export interface ImageSummary {
  readonly digest: Digest;
  readonly mediaType: string;
  /** `linux/amd64`. */
  readonly platform: string;
  /** Those of the index that it was chosen from; itself alone without one. */
  readonly platforms: readonly string[];
  /** RFC 3339; null when the image does not say. */
  readonly created: string | null;
  /** Reference of the base image, `scratch`, or null when the image does not say. */
  readonly base: string | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly env: readonly ShownVariable[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly user: string;
  readonly workingDir: string;
  /** Config and layers as they travel. */
  readonly sizeBytes: number;
  readonly unpackedBytes: number;
  readonly wastedBytes: number;
  /** Files that a container sees. */
  readonly files: number;
  readonly layers: readonly LayerSummary[];
  readonly largestFiles: readonly LargeFile[];
  readonly distribution: Distribution | null;
  readonly packages: readonly Package[];
}

export interface LayerSummary {
  readonly digest: Digest;
  readonly diffId: string;
  readonly mediaType: string;
  readonly sizeBytes: number;
  readonly unpackedBytes: number;
  readonly wastedBytes: number;
  /** Files, links and folders. */
  readonly entries: number;
  /** What a layer of wherry is for; null for others. */
  readonly role: string | null;
  /** The command that made it; null when the image does not say. */
  readonly madeBy: string | null;
}

export interface LargeFile {
  readonly path: string;
  readonly sizeBytes: number;
  /** Index of its layer. */
  readonly layer: number;
}

const LARGEST = 10;

/** Puts together what config, manifest and contents of an image tell. */
export function summarizeImage(source: ImageSource, contents: ImageContents): ImageSummary {
  const { descriptor, manifest, config } = source;
  const layers = summarizeLayers(source, contents);
  const running = config.config ?? {};
  const platform = formatPlatform(config);
  return {
    digest: descriptor.digest,
    mediaType: descriptor.mediaType,
    platform,
    platforms: source.offered?.map(formatPlatform) ?? [platform],
    created: config.created ?? null,
    base: baseOf(source),
    labels: running.Labels ?? {},
    env: showEnvironment(running.Env ?? []),
    entrypoint: maskWords(running.Entrypoint ?? []),
    cmd: maskWords(running.Cmd ?? []),
    user: running.User ?? '',
    workingDir: running.WorkingDir ?? '',
    sizeBytes: sum(layers, ({ sizeBytes }) => sizeBytes) + manifest.config.size,
    unpackedBytes: sum(layers, ({ unpackedBytes }) => unpackedBytes),
    wastedBytes: sum(layers, ({ wastedBytes }) => wastedBytes),
    files: contents.files.filter(({ type }) => type === 'file').length,
    layers,
    largestFiles: findLargest(contents),
    distribution: contents.distribution ?? null,
    packages: contents.packages,
  };
}

/** Labels first (OCI image-spec, annotations.md), then the manifest's annotations. */
function baseOf({ config, manifest }: ImageSource): string | null {
  const name = 'org.opencontainers.image.base.name';
  const labels = config.config?.Labels ?? {};
  return labels[name] ?? labels[LABELS.base] ?? manifest.annotations?.[name] ?? null;
}

function summarizeLayers({ layers, config }: ImageSource, contents: ImageContents): readonly LayerSummary[] {
  const history = (config.history ?? []).filter(({ empty_layer: isEmpty }) => isEmpty !== true);
  // A history that is shorter or longer than the layers says nothing about any of them.
  const isKnown = history.length === layers.length;
  return layers.map(({ descriptor, diffId }, index) => {
    const { entries = 0, unpackedBytes = 0, wastedBytes = 0 } = contents.layers[index] ?? {};
    const command = isKnown ? history[index]?.created_by : undefined;
    return {
      digest: descriptor.digest,
      diffId,
      mediaType: descriptor.mediaType,
      sizeBytes: descriptor.size,
      unpackedBytes,
      wastedBytes,
      entries,
      role: /^wherry build: (.+)$/.exec(command ?? '')?.[1] ?? null,
      madeBy: command === undefined ? null : maskCommand(command),
    };
  });
}

function findLargest({ files }: ImageContents): readonly LargeFile[] {
  return files
    .filter(({ type }) => type === 'file')
    .sort((a, b) => b.size - a.size)
    .slice(0, LARGEST)
    .map(({ path, size, layer }) => ({ path, sizeBytes: size, layer }));
}

function sum<T>(items: readonly T[], sizeOf: (item: T) => number): number {
  return items.reduce((total, item) => total + sizeOf(item), 0);
}
