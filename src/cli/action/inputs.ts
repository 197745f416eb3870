import { existsSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { WherryError } from '../../base/errors.js';
import type { Environment } from '../../compose-settings.js';
import type { Context, OptionValues } from '../command.js';

/** One use of the action, as its steps get it from the runner. */
export interface ActionUse {
  /** For everything that is kept for the length of the use. */
  readonly dir: string;
  /** Names what the use makes, also on other servers; the same in all of its steps. */
  readonly runId: string;
  /** Where tests and their files are. */
  readonly projectDir: string;
  /** An image or a project is named. */
  readonly hasSubject: boolean;
  /** Empty for a server inside the runner. */
  readonly apiUrl: string;
  readonly apiKey: string;
  /** What `wherry test` and the servers see. */
  readonly context: Context;
}

const DEFAULT_FILE = '.github/tests.json';

/** Reads the inputs of `action.yml` as a command line of `wherry test`. Throws USAGE. */
export function readUse(context: Context): ActionUse {
  const { environment } = context;
  const dir = environment['WHERRY_ACTION_DIR'];
  if (!dir)
    throw new WherryError('USAGE', 'WHERRY_ACTION_DIR is not set', { hint: 'this command is for action.yml; use `wherry test` elsewhere' });
  const read = (name: string): string => (environment[`WHERRY_INPUT_${name}`] ?? '').trim();
  const [apiUrl, apiKey, projectDir] = [read('API_URL'), read('RUNPOD_API_KEY'), read('PROJECT_DIR')];
  const own: Environment = {
    ...environment,
    WHERRY_DATA: join(dir, 'data'),
    // Of a workflow's own: which server it is, the inputs say.
    WHERRY_API_URL: undefined,
    WHERRY_API_KEY: apiKey || undefined,
    WHERRY_INPUT_RUNPOD_API_KEY: undefined,
  };
  const options = readOptions(read, projectDir || '.');
  const settings: Context['settings'] = async () => {
    const { readSettings } = await import('../../compose-settings.js');
    return readSettings(own, { apiUrl: apiUrl || undefined });
  };
  const suffix = basename(dir)
    .toLowerCase()
    .replace(/^wherry-|[^a-z0-9]/g, '');
  return {
    dir,
    runId: `${environment['GITHUB_RUN_ID'] ?? 'local'}-${suffix}`,
    projectDir: projectDir || '.',
    hasSubject: projectDir !== '' || options['image'] !== undefined,
    apiUrl,
    apiKey,
    context: { ...context, environment: own, options, settings },
  };
}

function readOptions(read: (name: string) => string, dir: string): OptionValues {
  const given: readonly (readonly [string, string])[] = [
    ['image', read('IMAGE_TAG')],
    ['file', fileOf(read('TEST_FILENAME'), dir)],
    ['requestTimeout', read('REQUEST_TIMEOUT')],
    ['budget', secondsOf(read('BUDGET_SECONDS'))],
    ['apiUrl', read('API_URL')],
    ['registryAuth', read('CONTAINER_REGISTRY_AUTH_ID')],
    ['runtime', read('RUNTIME')],
  ];
  const reports = read('REPORT_PATHS').split('\n');
  return {
    ...Object.fromEntries(given.filter(([, value]) => value !== '')),
    ...(isOn(read('STRICT')) && { strict: true }),
    report: reports.flatMap((report) => report.trim() || []),
  };
}

/** The default is a name nobody wrote: where it is not, the tests may be at the other usual places. */
function fileOf(name: string, dir: string): string {
  return name === DEFAULT_FILE && !existsSync(resolve(dir, name)) ? '' : name;
}

function secondsOf(text: string): string {
  if (text === '' || /^[1-9]\d*$/.test(text)) return text === '' ? '' : `${text}s`;
  throw new WherryError('USAGE', `budget-seconds '${text}' is not a number`, { hint: 'use a whole number of seconds' });
}

function isOn(text: string): boolean {
  if (['', 'true', 'false'].includes(text)) return text === 'true';
  throw new WherryError('USAGE', `strict '${text}' is neither true nor false`, { hint: 'write true or false' });
}
