import type { RunReport, TestResult } from '../../check/result.js';
import { colours, type Output } from '../output.js';

/** A test as its line in the list, as soon as it ended. */
export function sayResult(output: Output, result: TestResult): void {
  const { name, isPassed, tookMs, failures } = result;
  const mark = isPassed ? colours.green('✓') : colours.red('✗');
  const why = failures.map(({ code }) => code).join(', ');
  output.talk(`  ${mark} ${name} ${colours.dim(`${tookMs} ms`)}${why === '' ? '' : ` ${colours.red(why)}`}`);
}

/** What failed, with its differences and its worker's last lines, and the count. */
export function formatRun({ results, passed, failed, tookMs, subject, digest }: RunReport): string {
  const of = digest === null ? '' : ` · ${subject} is ${digest}`;
  const count = `${passed} passed, ${failed} failed in ${(tookMs / 1000).toFixed(2)} s${of}`;
  return [...results.filter(({ isPassed }) => !isPassed).map(formatFailed), count].join('\n');
}

function formatFailed({ name, place, failures, job, log }: TestResult): string {
  const lines = [
    `${colours.red('✗')} ${name}  ${colours.dim(`${place.file}:${place.line}:${place.column}`)}`,
    ...failures.flatMap(({ code, text }) => text.split('\n').map((line, index) => `    ${index === 0 ? `${code}  ` : '  '}${line}`)),
    ...(job === null ? [] : [colours.dim(`    job ${job.id} ${job.status}${job.workerId === null ? '' : ` on ${job.workerId}`}`)]),
    ...(log.length === 0 ? [] : [colours.dim('    last lines of its worker:'), ...log.map((line) => colours.dim(`      ${line}`))]),
    '',
  ];
  return lines.join('\n');
}
