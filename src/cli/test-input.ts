import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, systemCodeOf, WherryError } from '../base/errors.js';
import { readInput } from './run-input.js';

/** Where the test request comes from: the command line first, then test_input.json. */
export interface TestInputSource {
  readonly whole: string | undefined;
  readonly fields: readonly string[];
}

/** The body of a request. */
export interface TestInput {
  readonly input: unknown;
  readonly policy?: object;
}

const TEST_INPUT_FILE = 'test_input.json';

/** The body of the test request, read anew each time; an empty input when the project has none. Throws USAGE, CONFIG_INVALID. */
export async function readTestInput(dir: string, { whole, fields }: TestInputSource): Promise<TestInput> {
  if (whole !== undefined || fields.length > 0) return { input: await readInput(whole, fields) };
  return (await findTestInput(dir)) ?? { input: {} };
}

/** The test request of a project; undefined when it has none. Throws CONFIG_INVALID. */
export async function findTestInput(dir: string): Promise<TestInput | undefined> {
  const text = await readFile(join(dir, TEST_INPUT_FILE), 'utf8').catch((thrown: unknown) => {
    if (systemCodeOf(thrown) === 'ENOENT') return undefined;
    throw invalid(messageOf(thrown), thrown);
  });
  return text === undefined ? undefined : parse(text);
}

function parse(text: string): TestInput {
  let value: { input?: unknown; policy?: unknown } | null;
  try {
    value = JSON.parse(text);
  } catch (thrown) {
    throw invalid(messageOf(thrown), thrown);
  }
  const { input, policy } = value ?? {};
  if (input === undefined || input === null) throw invalid("it has no 'input'");
  return { input, ...(typeof policy === 'object' && policy !== null && { policy }) };
}

function invalid(why: string, cause?: unknown): WherryError {
  return new WherryError('CONFIG_INVALID', `read ${TEST_INPUT_FILE}: ${why}`, { hint: 'write {"input": …} into it', cause });
}
