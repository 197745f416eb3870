import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Ajv, type AnySchemaObject } from 'ajv';
import { expect, it } from 'vitest';
import { MEDIA_TYPES } from '../oci/descriptor.js';
import { digestOf } from '../oci/digest.js';
import type { Package } from './packages.js';
import { formatPurl } from './purl.js';
import { makeSbom } from './sbom.js';
import type { ImageSource } from './source.js';

const DEBIAN = { id: 'debian', version: '12' };
const packageOf = (kind: Package['kind'], name: string, version: string, architecture?: string): Package => ({
  kind,
  name,
  version,
  architecture,
  path: `the/file/of/${kind}`,
});
const PACKAGES = [packageOf('deb', 'libc6', '2.36-9', 'amd64'), packageOf('npm', '@acme/b', '2.0.0'), packageOf('npm', 'a', '1.0.0')];

function sourceOf(text: string): ImageSource {
  const descriptor = { mediaType: MEDIA_TYPES.manifest, digest: digestOf(text), size: 1 };
  const labels = { 'org.opencontainers.image.title': 'hello' };
  return {
    descriptor,
    manifest: { schemaVersion: 2, mediaType: MEDIA_TYPES.manifest, config: descriptor, layers: [] },
    config: {
      created: '2026-01-02T03:04:05Z',
      architecture: 'arm64',
      os: 'linux',
      config: { Labels: labels },
      rootfs: { type: 'layers', diff_ids: [] },
    },
    layers: [],
  };
}

const make = (text: string, packages: readonly Package[] = PACKAGES) =>
  makeSbom(sourceOf(text), { packages, distribution: DEBIAN }, '1.2.3');

/** The published schema of CycloneDX 1.6, as the library carries it. */
function openSchema() {
  const folder = join(dirname(createRequire(import.meta.url).resolve('@cyclonedx/cyclonedx-library/package.json')), 'res/schema');
  const read = (name: string) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as AnySchemaObject;
  const ajv = new Ajv({ strict: false, validateFormats: false });
  ajv.addSchema(read('spdx.SNAPSHOT.schema.json'), 'http://cyclonedx.org/schema/spdx.SNAPSHOT.schema.json');
  ajv.addSchema(read('jsf-0.82.SNAPSHOT.schema.json'), 'http://cyclonedx.org/schema/jsf-0.82.SNAPSHOT.schema.json');
  return ajv.compile(read('bom-1.6.SNAPSHOT.schema.json'));
}

it('follows the schema of CycloneDX 1.6', async () => {
  const validate = openSchema();
  expect(validate(JSON.parse(await make('one'))), JSON.stringify(validate.errors)).toBe(true);
  expect(validate({ bomFormat: 'CycloneDX', specVersion: '1.6', components: [{ name: 'no type' }] })).toBe(false);
});

it('names the image by its digest and lists the system and the packages below it', async () => {
  const { metadata, components, dependencies } = JSON.parse(await make('one'));
  expect(metadata.component).toMatchObject({ type: 'container', name: 'hello', version: digestOf('one'), 'bom-ref': digestOf('one') });
  expect(metadata.timestamp).toBe('2026-01-02T03:04:05.000Z');
  expect(components.map(({ purl, name, group }: Record<string, string>) => [purl, group, name])).toEqual([
    [undefined, undefined, 'debian'],
    ['pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12', undefined, 'libc6'],
    ['pkg:npm/%40acme/b@2.0.0', '@acme', 'b'],
    ['pkg:npm/a@1.0.0', undefined, 'a'],
  ]);
  expect(dependencies.find(({ ref }: { ref: string }) => ref === digestOf('one')).dependsOn).toHaveLength(4);
});

it('is the same for the same image and another for another', async () => {
  const first = await make('one');
  expect(await make('one', [...PACKAGES].reverse())).toBe(first);
  const twice = [packageOf('pypi', 'a_b', '1'), packageOf('pypi', 'a-b', '1')];
  expect(await make('one', twice)).toBe(await make('one', twice));
  const serial = (text: string) => JSON.parse(text).serialNumber as string;
  expect(serial(first)).toMatch(/^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(serial(await make('two'))).not.toBe(serial(first));
});

it('writes package URLs as each kind has them', () => {
  expect(formatPurl(packageOf('deb', 'g++', '1:2', 'all'), undefined)).toBe('pkg:deb/debian/g%2B%2B@1:2?arch=all');
  expect(formatPurl(packageOf('apk', 'musl', '1.2-r0', 'x86_64'), { id: 'alpine', version: '3.22.1' })).toBe(
    'pkg:apk/alpine/musl@1.2-r0?arch=x86_64&distro=alpine-3.22.1',
  );
  expect(formatPurl(packageOf('pypi', 'Typing_Extensions', '4.0'), DEBIAN)).toBe('pkg:pypi/typing-extensions@4.0');
});
