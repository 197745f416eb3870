import { formatBytes } from '../base/size.js';
import type { ChangedFile, ImageDifference, NamedVersion, SizedFile } from '../image/difference.js';
import { printableAll } from './image-text.js';
import { formatTable } from './output.js';

const SHOWN = 20;

/** How two images differ, for people. */
export function formatDifference(told: ImageDifference): string {
  const { files, packages, config, layers, deltaBytes } = printableAll(told);
  const sections = [
    `size ${formatDelta(deltaBytes)} as it travels, ${formatDelta(files.deltaBytes)} unpacked\n` +
      `layers: ${layers.shared} shared (${formatBytes(layers.sharedBytes)}), ${layers.onlyFirst} only in the first, ${layers.onlySecond} only in the second`,
    formatRows(
      'setting',
      config.map(({ name, before, after }) => [name, before ?? '(none)', after ?? '(none)']),
    ),
    formatRows('package', [
      ...packages.changed.map(({ kind, name, from, to }) => [`~ ${kind} ${name}`, from.join(' '), to.join(' ')]),
      ...packages.added.map((added) => describe('+', added)),
      ...packages.removed.map((removed) => describe('-', removed)),
    ]),
    formatFiles('changed', '~', files.changed),
    formatFiles('added', '+', files.added),
    formatFiles('removed', '-', files.removed),
  ].filter((section) => section !== '');
  return sections.length === 1 ? `${sections[0]}\nno file, package or setting differs` : sections.join('\n\n');
}

function describe(sign: '+' | '-', { kind, name, version }: NamedVersion): readonly string[] {
  return [`${sign} ${kind} ${name}`, ...(sign === '+' ? ['', version] : [version, ''])];
}

function formatRows(title: string, rows: readonly (readonly string[])[]): string {
  return rows.length === 0 ? '' : `${formatTable([title, 'first', 'second'], rows.slice(0, SHOWN))}${more(rows.length)}`;
}

function formatFiles(title: string, sign: string, files: readonly (SizedFile | ChangedFile)[]): string {
  if (files.length === 0) return '';
  const largest = title === 'changed' ? files : [...files].sort((a, b) => b.sizeBytes - a.sizeBytes);
  const rows = largest.slice(0, SHOWN).map((file) => {
    const size = 'deltaBytes' in file ? formatDelta(file.deltaBytes) : formatBytes(file.sizeBytes);
    return [size, `${sign} ${file.path}${'what' in file ? `  (${file.what.join(', ')})` : ''}`];
  });
  return `${formatTable(['size', `files ${title}: ${files.length}`], rows)}${more(files.length)}`;
}

function more(count: number): string {
  return count > SHOWN ? `\nand ${count - SHOWN} more; --json lists them all` : '';
}

function formatDelta(bytes: number): string {
  return `${bytes < 0 ? '-' : '+'}${formatBytes(Math.abs(bytes))}`;
}
