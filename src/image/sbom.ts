import { createHash } from 'node:crypto';
// Parts by name: the whole library loads validators that nothing here uses, which takes longer than a push.
import * as Enums from '@cyclonedx/cyclonedx-library/Enums';
import * as Models from '@cyclonedx/cyclonedx-library/Models';
import * as Serialize from '@cyclonedx/cyclonedx-library/Serialize';
import * as Spec from '@cyclonedx/cyclonedx-library/Spec';
import type { Digest } from '../oci/digest.js';
import { formatPlatform } from '../oci/platform.js';
import type { Distribution, Package } from './packages.js';
import { formatPurl } from './purl.js';
import type { ImageSource } from './source.js';
import type { Software } from './tree.js';

/** Media type of the document; also the artifact type it is attached as. */
export const SBOM_TYPE = 'application/vnd.cyclonedx+json';

/**
 * The software in an image as CycloneDX 1.6 JSON. It depends on nothing but the image and the version of this tool: the time is
 * the image's own, the serial number follows from the digest.
 */
export function makeSbom({ descriptor, config }: ImageSource, { packages, distribution }: Software, toolVersion: string): string {
  const name = config.config?.Labels?.['org.opencontainers.image.title'] ?? 'image';
  const root = makeRoot({ name, digest: descriptor.digest, platform: formatPlatform(config) });
  const bom = new Models.Bom({ version: 1, serialNumber: serialNumberOf(descriptor.digest) });
  bom.metadata.component = root;
  bom.metadata.tools.components.add(componentOf('Application', 'wherry', { version: toolVersion, bomRef: 'wherry' }));
  const createdAt = Date.parse(config.created ?? '');
  if (Number.isFinite(createdAt)) bom.metadata.timestamp = new Date(createdAt);
  // Two packages of one URL would be told apart by something random.
  const byPurl = new Map([...packages].reverse().map((found) => [formatPurl(found, distribution), found]));
  const sorted = [...byPurl].sort(([one], [other]) => (one < other ? -1 : 1));
  for (const component of [...systemOf(distribution), ...sorted.map(([purl, found]) => makePackage(purl, found))]) {
    bom.components.add(component);
    root.dependencies.add(component.bomRef);
  }
  const serializer = new Serialize.JsonSerializer(new Serialize.JSON.Normalize.Factory(Spec.Spec1dot6));
  // The library's own order compares every field of each pair, which takes longer than all the rest.
  return `${serializer.serialize(bom, { sortLists: false, space: 2 })}\n`;
}

interface Root {
  readonly name: string;
  readonly digest: Digest;
  readonly platform: string;
}

function makeRoot({ name, digest, platform }: Root): Models.Component {
  const root = componentOf('Container', name, { version: digest, bomRef: digest });
  root.purl = `pkg:oci/${encodeURIComponent(name.toLowerCase())}@${encodeURIComponent(digest)}`;
  root.hashes.set(Enums.HashAlgorithm['SHA-256'], digest.slice('sha256:'.length));
  root.properties.add(new Models.Property('dev.wherry:platform', platform));
  return root;
}

function systemOf(distribution: Distribution | undefined): readonly Models.Component[] {
  if (!distribution) return [];
  const { id, version } = distribution;
  return [componentOf('OperatingSystem', id, { version, bomRef: `os:${id}` })];
}

function makePackage(purl: string, found: Package): Models.Component {
  const [group, name] = found.kind === 'npm' && found.name.startsWith('@') ? found.name.split('/') : [undefined, found.name];
  const component = componentOf('Library', name ?? found.name, { version: found.version, bomRef: purl });
  if (group !== undefined) component.group = group;
  component.purl = purl;
  component.properties.add(new Models.Property('dev.wherry:path', found.path));
  return component;
}

type Naming = { readonly version: string | undefined; readonly bomRef: string };

function componentOf(type: keyof typeof Enums.ComponentType, name: string, { version, bomRef }: Naming): Models.Component {
  return new Models.Component(Enums.ComponentType[type], name, { bomRef, ...(version !== undefined && { version }) });
}

/** A UUID of version 8 (RFC 9562 §5.8): bits of a hash, so that the same image has the same. */
function serialNumberOf(digest: Digest): string {
  const hash = createHash('sha256').update(`wherry sbom\0${digest}`).digest('hex');
  const variant = ((Number.parseInt(hash.slice(16, 17), 16) & 3) | 8).toString(16);
  return `urn:uuid:${hash.slice(0, 8)}-${hash.slice(8, 12)}-8${hash.slice(13, 16)}-${variant}${hash.slice(17, 20)}-${hash.slice(20, 32)}`;
}
