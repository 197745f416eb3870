import { describe, expect, it } from 'vitest';
import type { Platform } from './descriptor.js';
import { digestOf } from './digest.js';
import type { Index } from './manifest.js';
import { architectureOf, findPlatform, formatPlatform, listPlatforms, parsePlatform } from './platform.js';

const indexOf = (...platforms: readonly (string | undefined)[]): Index => ({
  schemaVersion: 2,
  mediaType: 'application/vnd.oci.image.index.v1+json',
  manifests: platforms.map((text, position) => ({
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    digest: digestOf(String(position)),
    size: position,
    ...(text !== undefined && { platform: parsePlatform(text) as Platform }),
  })),
});

const choose = (index: Index, wanted: string) => findPlatform(index, parsePlatform(wanted))?.size;

describe('parsePlatform', () => {
  it('is the inverse of formatPlatform, and refuses what is no platform', () => {
    for (const text of ['linux/amd64', 'linux/arm/v7']) expect(formatPlatform(parsePlatform(text))).toBe(text);
    for (const text of ['linux', 'linux/', '/amd64', 'linux/arm/', 'linux/arm/v7/x']) expect(() => parsePlatform(text)).toThrow(text);
  });
});

describe('findPlatform', () => {
  it('takes the very variant, else the first that can serve', () => {
    const index = indexOf('linux/arm/v5', 'linux/arm/v7', 'linux/arm64/v8', 'linux/amd64');
    expect(choose(index, 'linux/arm/v7')).toBe(1);
    expect(choose(index, 'linux/arm')).toBe(0);
    expect(choose(index, 'linux/arm64')).toBe(2);
    expect(choose(indexOf('linux/arm64'), 'linux/arm64/v8')).toBe(0);
    expect(choose(indexOf('linux/arm/v7', 'linux/arm'), 'linux/arm')).toBe(1);
  });

  it('takes nothing of another variant, processor or system', () => {
    const index = indexOf('linux/arm/v5', 'windows/amd64', undefined);
    for (const wanted of ['linux/arm/v7', 'linux/amd64', 'linux/arm64']) expect(choose(index, wanted), wanted).toBeUndefined();
  });
});

describe('listPlatforms', () => {
  it('leaves out what is no image, such as attestations', () => {
    const listed = listPlatforms(indexOf('linux/amd64', 'unknown/unknown', undefined, 'linux/arm64'));
    expect(listed.map(({ platform }) => formatPlatform(platform))).toEqual(['linux/amd64', 'linux/arm64']);
  });
});

describe('architectureOf', () => {
  it("gives OCI's names for Node's", () => {
    expect(['x64', 'arm64', 's390x', 'riscv64'].map(architectureOf)).toEqual(['amd64', 'arm64', 's390x', 'riscv64']);
  });
});
