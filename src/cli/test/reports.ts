import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { WherryError } from '../../base/errors.js';
import { formatJunit } from '../../check/report-junit.js';
import { formatMarkdown } from '../../check/report-markdown.js';
import type { RunReport } from '../../check/result.js';

const FORMATS: Readonly<Record<string, (report: RunReport) => string>> = {
  junit: formatJunit,
  json: (report) => `${JSON.stringify(report, null, 2)}\n`,
  md: formatMarkdown,
};

/** A file that a report goes to. */
export interface ReportFile {
  readonly format: string;
  readonly path: string;
}

/** Reads `junit=FILE`. Throws USAGE. */
export function parseReport(text: string): ReportFile {
  const [, format = '', path = ''] = /^([a-z]+)=(.+)$/.exec(text) ?? [];
  if (Object.hasOwn(FORMATS, format)) return { format, path };
  throw new WherryError('USAGE', `--report '${text}' is no report`, { hint: `write ${Object.keys(FORMATS).join('=FILE, ')}=FILE` });
}

/** Writes the report into its files, with the folders they need. */
export async function writeReports(report: RunReport, files: readonly ReportFile[]): Promise<void> {
  for (const { format, path } of files) {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, FORMATS[format]?.(report) ?? '');
  }
}
