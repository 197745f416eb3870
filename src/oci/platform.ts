import { WherryError } from '../base/errors.js';
import type { Descriptor, Platform } from './descriptor.js';
import type { Index } from './manifest.js';

/** `linux/arm64` or `linux/arm/v7`. Throws USAGE. */
export function parsePlatform(text: string): Platform {
  const [os = '', architecture = '', variant, ...more] = text.split('/');
  if (os !== '' && architecture !== '' && variant !== '' && more.length === 0) {
    return { os, architecture, ...(variant !== undefined && { variant }) };
  }
  throw new WherryError('USAGE', `'${text}' is not a platform`, { hint: 'write OS/ARCHITECTURE, for instance linux/arm64' });
}

/** `os/architecture`, with `/variant` where there is one. */
export function formatPlatform({ os, architecture, variant }: Platform): string {
  return variant === undefined ? `${os}/${architecture}` : `${os}/${architecture}/${variant}`;
}

/** Whether an image for the one serves the other: variants are compared where both name one. */
export function isPlatform(offered: Platform, wanted: Platform): boolean {
  const isVariant = offered.variant === undefined || wanted.variant === undefined || offered.variant === wanted.variant;
  return offered.os === wanted.os && offered.architecture === wanted.architecture && isVariant;
}

/** The entry of an index for a platform (image-spec, image-index.md): the very one, else the first that serves it; undefined when there is none. */
export function findPlatform({ manifests }: Index, wanted: Platform): Descriptor | undefined {
  const served = manifests.filter(({ platform }) => platform !== undefined && isPlatform(platform, wanted));
  return served.find(({ platform }) => platform?.variant === wanted.variant) ?? served[0];
}

/** An image that an index lists. */
export type PlatformEntry = Descriptor & { readonly platform: Platform };

/** The images of an index; what else it lists, such as attestations of builds, names no platform or an unknown one. */
export function listPlatforms({ manifests }: Index): readonly PlatformEntry[] {
  return manifests.filter((entry): entry is PlatformEntry => entry.platform !== undefined && entry.platform.os !== 'unknown');
}

/** Node's names of processors, where they are not OCI's. */
const NODE_NAMES: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', ppc64: 'ppc64le' };

/** OCI's name of a processor (image-spec, image-index.md, "architecture") by Node's, which `process.arch` is. */
export function architectureOf(nodeName: string): string {
  return NODE_NAMES[nodeName] ?? nodeName;
}
