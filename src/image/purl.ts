import type { Distribution, Package } from './packages.js';

/** The package URL of a package (purl-spec): `pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12`. */
export function formatPurl({ kind, name, version, architecture }: Package, distribution: Distribution | undefined): string {
  const at = `@${encode(version)}`;
  if (kind === 'npm') return `pkg:npm/${name.split('/').map(encode).join('/')}${at}`;
  // Python's names are equal in any case and with any separator; purl wants one form.
  if (kind === 'pypi') return `pkg:pypi/${encode(name.toLowerCase().replaceAll('_', '-'))}${at}`;
  const { id, version: release } = distribution ?? { id: kind === 'deb' ? 'debian' : 'alpine', version: undefined };
  const distro = release === undefined ? undefined : `distro=${encode(`${id}-${release}`)}`;
  const qualifiers = [architecture === undefined ? undefined : `arch=${encode(architecture)}`, distro].filter((part) => part !== undefined);
  return `pkg:${kind}/${encode(id)}/${encode(name)}${at}${qualifiers.length === 0 ? '' : `?${qualifiers.join('&')}`}`;
}

/** Percent-encoding as purl has it: a colon stays. */
function encode(text: string): string {
  return encodeURIComponent(text).replaceAll('%3A', ':');
}
