import { appendFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { toWherryError, WherryError } from '../../base/errors.js';
import { createSecret } from '../../base/ids.js';
import { findSuite } from '../../check/find-suite.js';
import { formatAnnotation, formatAnnotations, formatCommand } from '../../check/report-annotations.js';
import { formatMarkdown } from '../../check/report-markdown.js';
import { formatOutputs } from '../../check/report-outputs.js';
import type { RunReport } from '../../check/result.js';
import { groupTests, type Test } from '../../check/suite.js';
import type { Environment } from '../../compose-settings.js';
import type { Problem } from '../../project/document.js';
import type { Context } from '../command.js';
import { readRequest } from '../commands/test.js';
import { writeReports } from '../test/reports.js';
import { runTests, type TestRequest } from '../test/run.js';
import { type ActionUse, readUse } from './inputs.js';
import { openStepLog, type StepLog } from './log.js';

/** The step of the action that tests: `wherry test` by its inputs, with annotations, outputs and summary. Gives the exit code of `wherry test`. */
export async function runAction(context: Context): Promise<number> {
  const { environment, signal } = context;
  const log = openStepLog((line) => context.output.line(line, line));
  const key = environment['WHERRY_INPUT_RUNPOD_API_KEY'];
  if (key) log.command(formatCommand('add-mask', key));
  let tests: readonly Test[] = [];
  let report: RunReport | undefined;
  let dir = '.';
  try {
    const use = readUse(context);
    dir = use.projectDir;
    const request = await readActionRequest(use);
    const suite = await findSuite(dir, request.file);
    tests = suite.tests;
    log.command(formatCommand('notice', describeCost(tests, request, use), { title: 'What this starts' }));
    report = await log.quote((output) => runTests({ ...use.context, output }, request));
    await writeReports(report, request.reports);
    await showReport(report, { log, environment, dir });
    if (signal.aborted) return 130;
    return report.failed === 0 ? 0 : 1;
  } catch (thrown) {
    if (signal.aborted) return 130;
    const error = toWherryError(thrown);
    for (const line of annotateError(error, dir, environment)) log.command(line);
    return error.exitCode;
  } finally {
    await append(environment['GITHUB_OUTPUT'], Object.entries(formatOutputs(tests, report)).map(formatOutput).join(''));
  }
}

async function readActionRequest({ context, projectDir, hasSubject, apiUrl, apiKey, runId }: ActionUse): Promise<TestRequest> {
  if (!hasSubject)
    throw new WherryError('USAGE', 'neither image-tag nor project-dir is given, so there is nothing to test', { hint: 'give one of them' });
  if (apiUrl !== '' && apiKey === '')
    throw new WherryError('USAGE', 'api-url is given without runpod-api-key', {
      hint: 'give a key of that server, or leave api-url out for a server inside the runner',
    });
  if (apiUrl !== '' && !URL.canParse(apiUrl))
    throw new WherryError('USAGE', `api-url '${apiUrl}' is no URL`, { hint: 'write it as https://host' });
  return { ...(await readRequest(context, projectDir)), runId };
}

/** What it will cost, before anything is started. */
function describeCost(tests: readonly Test[], { budgetMs }: TestRequest, { apiUrl, runId }: ActionUse): string {
  const groups = groupTests(tests);
  const made = groups.filter(({ settings }) => settings.endpointId === undefined).length;
  const what = `${count(tests.length, 'test')} on ${count(made, 'endpoint')} of run ${runId}`;
  const where =
    apiUrl === ''
      ? 'a server inside this runner: no account, no cost'
      : `${new URL(apiUrl).origin}, where workers may cost money while they run`;
  return `${what}, started on ${where}. It takes ${budgetMs / 1000} s at most, and everything is removed at the end.`;
}

const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? '' : 's'}`;

interface Shown {
  readonly log: StepLog;
  readonly environment: Environment;
  /** What the files of the report are relative to. */
  readonly dir: string;
}

/** Annotations, the worker's lines folded, the summary. */
async function showReport(report: RunReport, { log, environment, dir }: Shown): Promise<void> {
  const { passed, failed, results, notes } = report;
  for (const line of formatAnnotations(report, (file) => fromWorkspace(join(dir, file), environment))) log.command(line);
  for (const { name, log: lines } of results.filter((result) => result.log.length > 0)) {
    log.command(`::group::Last lines of the worker of ${name.replace(/\s/g, ' ')}`);
    await log.quote((output) => lines.forEach((line) => void output.talk(line)));
    log.command('::endgroup::');
  }
  await log.quote((output) => {
    for (const note of notes) output.talk(note);
    output.talk(`${passed} passed, ${failed} failed${report.digest === null ? '' : `, image ${report.digest}`}`);
  });
  await append(environment['GITHUB_STEP_SUMMARY'], formatMarkdown(report));
}

/** Each problem of a test file at its place; of other errors, what to do. */
function annotateError({ code, message, hint, detail }: WherryError, dir: string, environment: Environment): readonly string[] {
  const remedy = hint === undefined ? '' : `\nfix: ${hint}`;
  if (code !== 'CONFIG_INVALID' || !Array.isArray(detail)) return [formatAnnotation(`${message}${remedy}`, { title: code })];
  return (detail as readonly Problem[]).map(({ file, line, column, problem }) =>
    formatAnnotation(`${problem}${remedy}`, { file: fromWorkspace(join(dir, file), environment), line, col: column, title: code }),
  );
}

/** Annotations stand at files of the repository. */
function fromWorkspace(path: string, environment: Environment): string {
  return relative(environment['GITHUB_WORKSPACE'] ?? '.', resolve(path));
}

/** With a delimiter that no value can have foreseen. */
function formatOutput([name, value]: readonly [string, string]): string {
  const delimiter = createSecret();
  return `${name}<<${delimiter}\n${value}\n${delimiter}\n`;
}

async function append(file: string | undefined, text: string): Promise<void> {
  if (file) await appendFile(file, text);
}
