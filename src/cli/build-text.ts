import { formatBytes } from '../base/size.js';
import { type BuiltImage, layersOf, type PlatformImage } from '../build/built-image.js';
import type { BuiltLayer } from '../build/layers.js';
import { shortDigest } from '../oci/digest.js';
import { formatPlatform } from '../oci/platform.js';
import { formatTable } from './output.js';

/** What was built, for `--json`: all layers each once, and what each platform's image has of them. */
export function describeBuilt(built: BuiltImage) {
  const { digest, name, revision, images } = built;
  return { digest, name, revision, layers: layersOf(built).map(describeLayer), platforms: images.map(describeImage) };
}

function describeImage({ platform, descriptor, blobs, layers }: PlatformImage) {
  const sizeBytes = blobs.reduce((sum, { size }) => sum + size, 0);
  return { platform: formatPlatform(platform), digest: descriptor.digest, sizeBytes, layers: layers.map(describeLayer) };
}

function describeLayer({ role, digest, diffId, size, isCached }: BuiltLayer) {
  return { role, digest, diffId, size, isCached };
}

/** What was built, for people: the layers, the digest of each platform's image when there are several, and the digest of it all. */
export function formatBuilt({ name, digest, images, index }: BuiltImage): string {
  const ofSeveral = (text: string) => (index ? [text] : []);
  const rows = images.flatMap(({ platform, layers }) =>
    layers.map((layer) => [...ofSeveral(formatPlatform(platform)), ...formatLayer(layer)]),
  );
  const table = formatTable([...ofSeveral('platform'), 'layer', 'digest', 'size', ''], rows);
  const digests = images.flatMap(({ platform, descriptor }) => ofSeveral(`${formatPlatform(platform)}  ${descriptor.digest}`));
  return [table, ...digests, `${name}@${digest}`].join('\n');
}

function formatLayer({ role, digest, size, isCached }: BuiltLayer): readonly string[] {
  return [role, shortDigest(digest), formatBytes(size), isCached ? 'cached' : 'made'];
}
