import { formatBytes } from '../base/size.js';
import type { ImageSummary, LayerSummary } from '../image/summary.js';
import { shortDigest } from '../oci/digest.js';
import { colours, formatTable, printable } from './output.js';

const COMMAND_WIDTH = 70;
const PACKAGES_SHOWN = 20;

/** An image's summary for people: what it is, its layers, its largest files, its packages. */
export function formatSummary(name: string, told: ImageSummary): string {
  const summary = printableAll(told);
  const sections = [
    formatFacts(name, summary),
    formatTable(['', 'layer', 'size', 'unpacked', 'wasted', 'entries', 'made by'], summary.layers.map(formatLayer)),
    formatTable(
      ['size', 'layer', 'largest files'],
      summary.largestFiles.map(({ path, sizeBytes, layer }) => [formatBytes(sizeBytes), String(layer), path]),
    ),
    formatPackages(summary),
  ];
  return sections.filter((section) => section !== '').join('\n\n');
}

function formatFacts(name: string, summary: ImageSummary): string {
  const { platform, platforms, digest, created, base, entrypoint, cmd, user, workingDir, labels, env } = summary;
  const sizes = `${formatBytes(summary.sizeBytes)} in ${summary.layers.length} layers, unpacked ${formatBytes(summary.unpackedBytes)}`;
  const facts: readonly (readonly [string, string])[] = [
    ['image', `${name}  ${digest}`],
    ['platform', platforms.length > 1 ? `${platform}, chosen from ${platforms.join(', ')}` : platform],
    ['created', created ?? ''],
    ['base', base ?? ''],
    ['size', `${sizes}, wasted ${formatBytes(summary.wastedBytes)}, ${summary.files} files`],
    ['entrypoint', formatWords(entrypoint)],
    ['cmd', formatWords(cmd)],
    ['user', user],
    ['workdir', workingDir],
    ...env.map((variable, index) => [index === 0 ? 'env' : '', `${variable.name}=${variable.value}`] as const),
    ...Object.entries(labels).map(([label, value], index) => [index === 0 ? 'labels' : '', `${printable(label)}=${value}`] as const),
  ];
  return facts
    .filter(([, value]) => value !== '')
    .map(([title, value]) => `${colours.dim(title.padEnd(10))}  ${value}`)
    .join('\n');
}

function formatWords(words: readonly string[]): string {
  return words.length === 0 ? '' : JSON.stringify(words);
}

function formatLayer({ digest, sizeBytes, unpackedBytes, wastedBytes, entries, role, madeBy }: LayerSummary, index: number): string[] {
  const wasted = wastedBytes === 0 ? '' : formatBytes(wastedBytes);
  const maker = role === null ? shorten(madeBy ?? 'unknown') : `wherry: ${role}`;
  return [String(index), shortDigest(digest), formatBytes(sizeBytes), formatBytes(unpackedBytes), wasted, String(entries), maker];
}

function formatPackages({ packages, distribution }: ImageSummary): string {
  if (packages.length === 0) return '';
  const on = distribution ? `, on ${distribution.id} ${distribution.version ?? ''}` : '';
  const more = packages.length > PACKAGES_SHOWN ? `\nand ${packages.length - PACKAGES_SHOWN} more; --json lists them all` : '';
  const rows = packages.slice(0, PACKAGES_SHOWN).map(({ kind, name, version }) => [kind, name, version]);
  return `${formatTable(['', `packages: ${packages.length}${on}`, 'version'], rows)}${more}`;
}

function shorten(command: string): string {
  const line = command
    .replace(/ +/g, ' ')
    .replace(/^\/bin\/sh -c (#\(nop\) )?/, '')
    .trim();
  return line.length > COMMAND_WIDTH ? `${line.slice(0, COMMAND_WIDTH - 1)}…` : line;
}

/** A value of plain JSON with all its texts {@link printable}. */
export function printableAll<T>(value: T): T {
  return JSON.parse(JSON.stringify(value), (_, inner: unknown) => (typeof inner === 'string' ? printable(inner) : inner)) as T;
}
