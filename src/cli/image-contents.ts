import { formatBytes } from '../base/size.js';
import { type ImageContents, readContents } from '../image/contents.js';
import type { ImageSource } from '../image/source.js';
import { shortDigest } from '../oci/digest.js';
import { parsePlatform } from '../oci/platform.js';
import { type Context, textOf } from './command.js';
import { type NamedImage, openNamedImage } from './image-source.js';

export interface ReadImage {
  readonly source: ImageSource;
  readonly contents: ImageContents;
}

export interface Reading {
  /** Files tell equal content from other content. */
  readonly isCompared?: boolean;
}

/** Opens a named image for the platform that was asked for. */
export function openAsked(context: Context, name: string): Promise<NamedImage> {
  const platform = textOf(context.options, 'platform');
  return openNamedImage(name, platform === undefined ? undefined : parsePlatform(platform), context);
}

/** Reads all layers of an image, telling of each. */
export function readTold(context: Context, { source, name }: NamedImage, { isCompared = false }: Reading = {}): Promise<ImageContents> {
  const { output, signal } = context;
  return readContents(source, {
    isCompared,
    signal,
    onLayer: ({ descriptor: { digest, size } }, index) =>
      output.talk(`  ${name}  layer ${index + 1} of ${source.layers.length}  ${shortDigest(digest)}  ${formatBytes(size)}`),
  });
}

/** Opens a named image, reads it and closes it again. */
export async function openRead(context: Context, name: string, reading: Reading = {}): Promise<ReadImage> {
  const named = await openAsked(context, name);
  try {
    return { source: named.source, contents: await readTold(context, named, reading) };
  } finally {
    await named.close();
  }
}
