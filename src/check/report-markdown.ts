import { phasesOf, warmPhases } from '../domain/cold-start.js';
import type { RunReport, TestedJob, TestResult } from './result.js';

/** CI systems drop a summary above 1 MiB. A third of this is for the table. */
const MOST_BYTES = 1_000_000;
const MOST_SHOWN = 20_000;

/**
 * The report for people, as the summary of a CI job shows it: a table, and below it what failed with the worker's lines folded. It stays below
 * 1 MiB and says what it leaves out.
 */
export function formatMarkdown({ subject, digest, results, passed, failed, tookMs, notes }: RunReport): string {
  const verdict = failed === 0 ? `✅ ${passed} passed` : `❌ ${failed} failed, ${passed} passed`;
  const rows = results.map(
    ({ name, isPassed, tookMs: took, job }) => `| ${isPassed ? '✅' : '❌'} | ${cell(name)} | ${took} ms | ${phases(job)} |`,
  );
  const failures = results.filter(({ isPassed }) => !isPassed).map((result) => formatFailed(result).join('\n'));
  const lines = [
    `### ${verdict} in ${(tookMs / 1000).toFixed(1)} s`,
    '',
    `${code(subject)}${digest === null ? '' : ` as ${code(digest)}`}`,
    '',
    '| | test | time | phases |',
    '|---|---|---|---|',
    ...takeFitting(rows, MOST_BYTES / 3, 'more tests'),
    ...takeFitting(
      notes.map((note) => `\n> ${note}`),
      MOST_BYTES / 20,
      'more notes',
    ),
    ...takeFitting(failures, MOST_BYTES / 2, 'more tests that failed'),
    '',
  ];
  return lines.join('\n');
}

/** As many as there is room for, and how many were left out. */
function takeFitting(parts: readonly string[], mostBytes: number, what: string): readonly string[] {
  let left = mostBytes;
  const count = parts.findIndex((part) => {
    left -= Buffer.byteLength(part) + 1;
    return left < 0;
  });
  return count === -1 ? parts : [...parts.slice(0, count), '', `_… and ${parts.length - count} ${what}: there is no room for them here_`];
}

function formatFailed({ name, place, failures, log }: TestResult): readonly string[] {
  const said = failures.map(({ code: word, text }) => `${word} ${text}`).join('\n');
  const folded =
    log.length === 0
      ? []
      : ['', '<details><summary>last lines of its worker</summary>', '', ...fence(shorten(log.join('\n'))), '', '</details>'];
  return ['', `#### ${cell(name)} (${place.file}:${place.line})`, '', ...fence(shorten(said)), ...folded];
}

function phases(job: TestedJob | null): string {
  if (job === null) return '';
  const { timeline, delayMs, executionMs } = job;
  const warm = { ...(delayMs !== null && { delayTime: delayMs }), ...(executionMs !== null && { executionTime: executionMs }) };
  const found = timeline === null ? warmPhases(warm) : phasesOf(timeline);
  const path = timeline?.path == null ? '' : `${timeline.path}: `;
  return `${path}${found.map(({ name, from, to }) => `${name} ${to - from} ms`).join(' · ')}`;
}

const cell = (text: string): string => text.replace(/[|\\`<>\n]/g, (letter) => (letter === '\n' ? ' ' : `\\${letter}`));

function shorten(text: string): string {
  return text.length <= MOST_SHOWN ? text : `${text.slice(0, MOST_SHOWN)}\n… (${text.length} characters)`;
}

const code = (text: string): string => `\`${text.replaceAll('`', "'")}\``;

/** Longer than any fence inside. */
function fence(text: string): readonly string[] {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([found]) => found.length));
  const mark = '`'.repeat(longest + 1);
  return [mark, text, mark];
}
