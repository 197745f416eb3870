import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, systemCodeOf, WherryError } from '../base/errors.js';
import { formatBytes } from '../base/size.js';
import { parseProject } from '../project/parse.js';
import type { ProjectFile } from '../project/project-file.js';
import { PROJECT_FILE } from '../project/read.js';
import { parseDuration } from '../project/units.js';
import type { Expectation, Suite, Test } from './suite.js';
import { readProjectSuite, readSuite } from './test-file.js';

/** Where tests are looked for when none are named, after `tests` of wherry.yaml. */
export const TEST_FILES = ['.github/tests.json', '.runpod/tests.json', 'test_input.json'] as const;

const MOST_BYTES = 16 * 1024 * 1024;

/**
 * The tests of a directory: those of the file that is named, else `tests` of its wherry.yaml, else the first of {@link TEST_FILES}. Budgets of
 * wherry.yaml hold for each test that has none of its own. Throws NOT_FOUND with the paths that were tried, CONFIG_INVALID.
 */
export async function findSuite(dir: string, file: string | undefined): Promise<Suite> {
  const text = await readText(join(dir, PROJECT_FILE));
  const project: ProjectFile = text === undefined ? {} : parseProject(text, PROJECT_FILE);
  if (file === undefined && text !== undefined && typeof project.tests === 'object')
    return withBudget(readProjectSuite(text, PROJECT_FILE), project);
  const named = file ?? (typeof project.tests === 'string' ? project.tests : undefined);
  const tried = named === undefined ? TEST_FILES : [named];
  for (const path of tried) {
    const found = await readText(join(dir, path));
    if (found !== undefined) return withBudget(readSuite(found, path), project);
  }
  throw new WherryError('NOT_FOUND', `no tests in '${dir}': ${tried.map((path) => `there is no ${path}`).join(', ')}`, {
    hint:
      named === undefined
        ? `write one of them, or 'tests' into ${PROJECT_FILE}; docs/testing.md shows how`
        : 'name a file that exists, relative to the directory',
    detail: { tried },
  });
}

async function readText(path: string): Promise<string | undefined> {
  try {
    const found = await stat(path);
    // A pipe would be waited for.
    if (!found.isFile()) throw new Error('it is not a file');
    if (found.size > MOST_BYTES) throw new Error(`it has ${formatBytes(found.size)}`);
    return await readStart(path);
  } catch (thrown) {
    if (systemCodeOf(thrown) === 'ENOENT' || systemCodeOf(thrown) === 'ENOTDIR') return undefined;
    throw new WherryError('CONFIG_INVALID', `'${path}' cannot be read: ${messageOf(thrown)}`, {
      hint: `a file of tests is one that this user may read, of ${formatBytes(MOST_BYTES)} at most`,
      cause: thrown,
    });
  }
}

/** What is written while it is read ends at the limit, too. */
async function readStart(path: string): Promise<string> {
  const handle = await open(path);
  try {
    const parts = await handle.createReadStream({ end: MOST_BYTES, autoClose: false }).toArray();
    const bytes = Buffer.concat(parts as readonly Uint8Array[]);
    if (bytes.length > MOST_BYTES) throw new Error(`it has more than ${formatBytes(MOST_BYTES)}`);
    return bytes.toString('utf8');
  } finally {
    await handle.close();
  }
}

function withBudget(suite: Suite, { budget = {} }: ProjectFile): Suite {
  const { latency, coldStart } = budget;
  const limits: readonly Expectation[] = [
    ...(latency === undefined ? [] : [{ kind: 'latency' as const, limitMs: parseDuration(latency) }]),
    ...(coldStart === undefined ? [] : [{ kind: 'coldStart' as const, limitMs: parseDuration(coldStart) }]),
  ];
  const widen = (test: Test): Test => {
    const own = new Set(test.expect.map(({ kind }) => kind));
    return { ...test, expect: [...test.expect, ...limits.filter(({ kind }) => !own.has(kind))] };
  };
  return limits.length === 0 ? suite : { ...suite, tests: suite.tests.map(widen) };
}
