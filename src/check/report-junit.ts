import { escapeXml } from '../base/xml.js';
import type { RunReport, TestResult } from './result.js';

/** The report as JUnit XML, in the form that CI systems read: one suite, a case for each test. */
export function formatJunit({ file, results, failed, tookMs, startedAt, subject }: RunReport): string {
  const head = attributes({ name: file, tests: results.length, failures: failed, errors: 0, time: seconds(tookMs), timestamp: startedAt });
  const cases = results.map((result) => formatCase(result, subject));
  return ['<?xml version="1.0" encoding="UTF-8"?>', `<testsuites><testsuite ${head}>`, ...cases, '</testsuite></testsuites>', ''].join(
    '\n',
  );
}

function formatCase({ name, place, failures, tookMs, job, log }: TestResult, subject: string): string {
  const head = attributes({ name, classname: subject, file: place.file, line: place.line, time: seconds(tookMs) });
  const [first] = failures;
  const failure = first
    ? [
        `<failure ${attributes({ type: first.code, message: first.text.split('\n')[0] ?? '' })}>`,
        escapeXml(failures.map(({ code, text }) => `${code} ${text}`).join('\n')),
        '</failure>',
      ].join('')
    : '';
  const facts = job === null ? [] : [`job ${job.id} ${job.status}${job.workerId === null ? '' : ` on ${job.workerId}`}`];
  const out = [...facts, ...log];
  return `<testcase ${head}>${failure}${out.length === 0 ? '' : `<system-out>${escapeXml(out.join('\n'))}</system-out>`}</testcase>`;
}

const seconds = (ms: number): string => (ms / 1000).toFixed(3);

function attributes(values: Readonly<Record<string, string | number>>): string {
  return Object.entries(values)
    .map(([name, value]) => `${name}="${escapeXml(String(value))}"`)
    .join(' ');
}
