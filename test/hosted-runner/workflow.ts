import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { type Contexts, interpolate, isWanted, type Progress } from './expression.js';
import { openLog, type StepLog } from './step-log.js';
import { runScript } from './step-process.js';

interface Step {
  readonly id?: string;
  readonly name?: string;
  readonly if?: string;
  readonly uses?: string;
  readonly with?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, unknown>>;
  readonly run?: string;
  readonly shell?: string;
}

interface Workflow {
  readonly jobs: Readonly<Record<string, { readonly env?: Step['env']; readonly steps: readonly Step[] }>>;
}

interface Action {
  readonly inputs?: Readonly<Record<string, { readonly default?: string; readonly required?: boolean } | null>>;
  readonly outputs?: Readonly<Record<string, { readonly value: string }>>;
  readonly runs: { readonly using: string; readonly steps: readonly Step[] };
}

export interface RunnerOptions {
  /** The text of the workflow file; its first job runs. */
  readonly workflow: string;
  /** What `actions/checkout` would have fetched. */
  readonly workspace: string;
  /** What `./action` and `OWNER/wherry/action@REF` are part of. */
  readonly checkout: string;
  /** For the runner's own directories. */
  readonly dir: string;
  readonly secrets?: Readonly<Record<string, string>>;
  /** Of the machine, beside PATH. */
  readonly env?: Readonly<Record<string, string>>;
  /** What the shells are started by, for instance without a network. */
  readonly wrapper?: string;
}

/** How a job went. */
export interface JobRun extends Pick<StepLog, 'lines' | 'orders'> {
  readonly conclusion: 'success' | 'failure' | 'cancelled';
  readonly summary: string;
  readonly steps: Steps;
}

type Steps = Record<string, { readonly outputs: Readonly<Record<string, string>>; readonly outcome: string }>;

export interface StartedJob {
  readonly ended: Promise<JobRun>;
  readonly log: StepLog;
  readonly temp: string;
  /** Cancels as the hosted runner does: SIGINT to the step's process, SIGTERM and SIGKILL when it stays; at once when there is no patience. */
  cancel(patienceMs?: { readonly int: number; readonly term: number }): Promise<void>;
}

/** What is the same for a whole job. */
interface Job {
  readonly options: RunnerOptions;
  readonly temp: string;
  readonly log: StepLog;
  readonly env: Record<string, string>;
  readonly summary: string[];
  child: ChildProcess | undefined;
  isCancelled: boolean;
}

/** The workflow or an action inside it: each has its own steps and its own progress. */
interface Scope {
  readonly contexts: Contexts & { readonly steps: Steps };
  readonly actionPath: string | undefined;
  hasFailed: boolean;
}

/** Runs a job as the hosted runner of GitHub does, as far as the project's own files need it. */
export function startJob(options: RunnerOptions): StartedJob {
  const temp = join(options.dir, 'temp');
  mkdirSync(temp, { recursive: true });
  const { PATH = '' } = process.env;
  const github = { GITHUB_ACTIONS: 'true', GITHUB_WORKSPACE: options.workspace, GITHUB_RUN_ID: '4711', RUNNER_TEMP: temp, CI: 'true' };
  const job: Job = {
    options,
    temp,
    log: openLog(),
    env: { PATH, HOME: options.dir, ...github, ...options.env },
    summary: [],
    child: undefined,
    isCancelled: false,
  };
  return { ended: runJob(job), log: job.log, temp, cancel: (patience = { int: 7_500, term: 2_500 }) => cancel(job, patience) };
}

async function runJob(job: Job): Promise<JobRun> {
  const { options, log, summary } = job;
  const [first] = Object.values((parse(options.workflow) as Workflow).jobs);
  const steps: Steps = {};
  const scope: Scope = { contexts: contextsOf(job, { steps, secrets: options.secrets ?? {} }), actionPath: undefined, hasFailed: false };
  Object.assign(job.env, texts(first?.env, scope.contexts));
  await runSteps(first?.steps ?? [], scope, job);
  const conclusion = job.isCancelled ? 'cancelled' : scope.hasFailed ? 'failure' : 'success';
  return { conclusion, lines: log.lines, orders: log.orders, summary: summary.join(''), steps };
}

function contextsOf(job: Job, own: { readonly steps: Steps } & Contexts): Scope['contexts'] {
  const { options, temp, env } = job;
  return { github: { workspace: options.workspace, run_id: '4711' }, runner: { temp, os: 'Linux' }, env, ...own };
}

async function runSteps(steps: readonly Step[], scope: Scope, job: Job): Promise<void> {
  for (const step of steps) {
    const progress: Progress = { hasFailed: scope.hasFailed, isCancelled: job.isCancelled };
    if (!isWanted(step.if, scope.contexts, progress)) {
      if (step.id !== undefined) scope.contexts.steps[step.id] = { outputs: {}, outcome: 'skipped' };
      continue;
    }
    const { isPassed, outputs } = await (step.uses === undefined ? runShell(step, scope, job) : runUsed(step, scope, job));
    if (!isPassed) scope.hasFailed = true;
    if (step.id !== undefined) scope.contexts.steps[step.id] = { outputs, outcome: isPassed ? 'success' : 'failure' };
  }
}

type Ran = { readonly isPassed: boolean; readonly outputs: Readonly<Record<string, string>> };

async function runShell(step: Step, { contexts, actionPath }: Scope, job: Job): Promise<Ran> {
  const { options, env, log } = job;
  if (actionPath !== undefined && step.shell === undefined) throw new Error(`a step of an action has no shell: ${step.run}`);
  const shell = step.shell ?? '';
  const { code, outputs, ...told } = await runScript({
    script: interpolate(step.run ?? '', contexts),
    shell:
      options.wrapper === undefined
        ? shell
        : `${options.wrapper} ${shell === '' ? 'bash -e {0}' : 'bash --noprofile --norc -eo pipefail {0}'}`,
    cwd: options.workspace,
    env: { ...env, ...texts(step.env, contexts), ...(actionPath !== undefined && { GITHUB_ACTION_PATH: actionPath }) },
    dir: mkdtempSync(join(options.dir, 'step-')),
    onLine: log.open(),
    onStart: (child) => {
      job.child = child;
    },
  });
  job.child = undefined;
  Object.assign(env, told.env);
  env['PATH'] = [...told.path.toReversed(), env['PATH']].join(':');
  job.summary.push(told.summary);
  return { isPassed: code === 0, outputs };
}

async function runUsed(step: Step, scope: Scope, job: Job): Promise<Ran> {
  const { uses = '' } = step;
  if (uses.startsWith('actions/checkout@')) return { isPassed: true, outputs: {} };
  const [, folder] = /^(?:\.|OWNER\/wherry)\/(action)(?:@.+)?$/.exec(uses) ?? [];
  if (folder === undefined) throw new Error(`'${uses}' is no action that is here`);
  const actionPath = join(job.options.checkout, folder);
  const action = readAction(actionPath);
  const inputs = readInputs(action, texts(step.with, scope.contexts));
  const inner: Scope = { contexts: contextsOf(job, { steps: {}, inputs }), actionPath, hasFailed: false };
  await runSteps(action.runs.steps, inner, job);
  const outputs = Object.fromEntries(
    Object.entries(action.outputs ?? {}).map(([name, { value }]) => [name, interpolate(value, inner.contexts)]),
  );
  return { isPassed: !inner.hasFailed, outputs };
}

function readAction(path: string): Action {
  const file = join(path, 'action.yml');
  if (!existsSync(file)) throw new Error(`there is no ${file}`);
  const action = parse(readFileSync(file, 'utf8')) as Action;
  if (action.runs.using !== 'composite') throw new Error(`${file} is not composite`);
  return action;
}

function readInputs({ inputs: declared = {} }: Action, given: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const unknown = Object.keys(given).find((name) => !Object.hasOwn(declared, name));
  if (unknown !== undefined) throw new Error(`the action has no input '${unknown}'`);
  return Object.fromEntries(Object.entries(declared).map(([name, input]) => [name, given[name] ?? input?.default ?? '']));
}

function texts(values: Step['env'], contexts: Contexts): Record<string, string> {
  return Object.fromEntries(Object.entries(values ?? {}).map(([name, value]) => [name, interpolate(String(value), contexts)]));
}

async function cancel(job: Job, { int, term }: { readonly int: number; readonly term: number }): Promise<void> {
  job.isCancelled = true;
  const { child } = job;
  if (child === undefined) return;
  const ended = new Promise<true>((resolve) => child.once('exit', () => resolve(true)));
  const within = (ms: number) => Promise.race([ended, new Promise<false>((resolve) => setTimeout(() => resolve(false), ms).unref())]);
  child.kill('SIGINT');
  if (await within(int)) return;
  child.kill('SIGTERM');
  if (await within(term)) return;
  child.kill('SIGKILL');
  await ended;
}
