import { phasesOf, warmPhases } from '../domain/cold-start.js';
import type { RunReport, TestedJob, TestResult } from './result.js';

/** The report for people, as the summary of a CI job shows it: a table, and below it what failed with the worker's lines folded. */
export function formatMarkdown({ subject, digest, results, passed, failed, tookMs, notes }: RunReport): string {
  const verdict = failed === 0 ? `✅ ${passed} passed` : `❌ ${failed} failed, ${passed} passed`;
  const lines = [
    `### ${verdict} in ${(tookMs / 1000).toFixed(1)} s`,
    '',
    `${code(subject)}${digest === null ? '' : ` as ${code(digest)}`}`,
    '',
    '| | test | time | phases |',
    '|---|---|---|---|',
    ...results.map(
      ({ name, isPassed, tookMs: took, job }) => `| ${isPassed ? '✅' : '❌'} | ${cell(name)} | ${took} ms | ${phases(job)} |`,
    ),
    ...notes.map((note) => `\n> ${note}`),
    ...results.filter(({ isPassed }) => !isPassed).flatMap(formatFailed),
    '',
  ];
  return lines.join('\n');
}

function formatFailed({ name, place, failures, log }: TestResult): readonly string[] {
  const said = failures.map(({ code: word, text }) => `${word} ${text}`).join('\n');
  const folded =
    log.length === 0 ? [] : ['', '<details><summary>last lines of its worker</summary>', '', ...fence(log.join('\n')), '', '</details>'];
  return ['', `#### ${cell(name)} (${place.file}:${place.line})`, '', ...fence(said), ...folded];
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
