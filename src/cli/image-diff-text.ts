import type { ChangedFile, ChangedSetting, ImageDiff } from '../image/diff.js';
import { printableAll } from './image-text.js';
import { formatBytes, formatTable } from './output.js';

const FILES_SHOWN = 20;

/** How two images differ, for people. */
export function formatDiff(found: ImageDiff): string {
  const { isSame, sizeDelta, layersShared, layersNew, files, packages, config } = printableAll(found);
  if (isSame) return 'the same image';
  const sections = [
    `size ${signed(sizeDelta)}, ${layersShared} layers shared, ${layersNew} new`,
    config.length === 0 ? '' : formatTable(['config', 'before', 'after'], config.map(formatSetting)),
    packages.length === 0
      ? ''
      : formatTable(
          ['', 'package', 'before', 'after'],
          packages.map(({ kind, name, before, after }) => [kind, name, before ?? '-', after ?? '-']),
        ),
    formatFiles('added', files.added),
    formatFiles('removed', files.removed),
    formatFiles('changed', files.changed),
  ];
  return sections.filter((section) => section !== '').join('\n\n');
}

function formatSetting({ name, before, after }: ChangedSetting): readonly string[] {
  return [name, before ?? '-', after ?? '-'];
}

function formatFiles(title: string, files: readonly ChangedFile[]): string {
  if (files.length === 0) return '';
  const rows = files.slice(0, FILES_SHOWN).map(({ path, delta }) => [signed(delta), path]);
  const more = files.length > FILES_SHOWN ? `\nand ${files.length - FILES_SHOWN} more; --json lists them all` : '';
  return `${formatTable(['', `${title}: ${files.length} files`], rows)}${more}`;
}

function signed(bytes: number): string {
  return bytes < 0 ? `-${formatBytes(-bytes)}` : `+${formatBytes(bytes)}`;
}
