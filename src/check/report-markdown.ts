import { shorten } from '../base/shorten.js';
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
  const lines = [
    `### ${verdict} in ${(tookMs / 1000).toFixed(1)} s`,
    '',
    `${code(subject)}${digest === null ? '' : ` as ${code(digest)}`}`,
    '',
    '| | test | time | phases |',
    '|---|---|---|---|',
    ...takeFitting(results, { format: formatRow, mostBytes: MOST_BYTES / 3, what: 'more tests' }),
    ...takeFitting(notes, { format: (note) => `\n> ${note}`, mostBytes: MOST_BYTES / 20, what: 'more notes' }),
    ...takeFitting(
      results.filter(({ isPassed }) => !isPassed),
      { format: formatFailed, mostBytes: MOST_BYTES / 2, what: 'more tests that failed' },
    ),
    '',
  ];
  return lines.join('\n');
}

interface Room<T> {
  readonly format: (item: T) => string;
  readonly mostBytes: number;
  readonly what: string;
}

/** As many as there is room for, and how many were left out. */
function takeFitting<T>(items: readonly T[], { format, mostBytes, what }: Room<T>): readonly string[] {
  const taken: string[] = [];
  let left = mostBytes;
  for (const item of items) {
    const part = format(item);
    left -= Buffer.byteLength(part) + 1;
    if (left < 0) return [...taken, '', `_… and ${items.length - taken.length} ${what}: there is no room for them here_`];
    taken.push(part);
  }
  return taken;
}

function formatRow({ name, isPassed, tookMs, job }: TestResult): string {
  return `| ${isPassed ? '✅' : '❌'} | ${cell(name)} | ${tookMs} ms | ${phases(job)} |`;
}

function formatFailed({ name, place, failures, log }: TestResult): string {
  const said = failures.map(({ code: word, text }) => `${word} ${text}`).join('\n');
  const folded =
    log.length === 0
      ? []
      : ['', '<details><summary>last lines of its worker</summary>', '', ...fence(shorten(log.join('\n'), MOST_SHOWN)), '', '</details>'];
  return ['', `#### ${cell(name)} (${place.file}:${place.line})`, '', ...fence(shorten(said, MOST_SHOWN)), ...folded].join('\n');
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

const code = (text: string): string => `\`${text.replaceAll('`', "'")}\``;

/** Longer than any fence inside. */
function fence(text: string): readonly string[] {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([found]) => found.length));
  const mark = '`'.repeat(longest + 1);
  return [mark, text, mark];
}
