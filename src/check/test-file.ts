import { Ajv, type ErrorObject } from 'ajv';
import { messageOf, type WherryError } from '../base/errors.js';
import { shorten } from '../base/shorten.js';
import { type Finding, openDocument, type Segments, type SourceDocument } from '../project/document.js';
import { findNearest } from '../project/nearest.js';
import { parseDuration, parseSize } from '../project/units.js';
import { compileSchema } from './json-schema.js';
import { isObject, parsePointer } from './pointer.js';
import { FIELD_NAMES, OUTPUT_SPELLINGS, TEST_SCHEMAS } from './schemas.js';
import { type Expectation, type Form, NO_SETTINGS, type Suite, type Test, type TestSettings } from './suite.js';

const HINT = 'docs/testing.md shows the three kinds of test files';

/**
 * Reads a test file: a list is the action's, an object with `tests` the hub's, one with `input` the request that SDKs try a handler with
 * (`test_input.json`). `file` is the name that messages show. Throws CONFIG_INVALID
 * with file, line and column of every problem in `detail`.
 */
export function readSuite(text: string, file: string): Suite {
  const source = openDocument(text, file, HINT);
  const value = source.read();
  if (!isObject(value)) return readTests({ source, form: 'action', at: [], value });
  const isRequest = Object.hasOwn(value, 'input') && !Object.hasOwn(value, 'tests');
  return isRequest ? readRequest(source, value['input']) : readTests({ source, form: 'hub', at: [], value });
}

function readRequest({ file, placeOf }: SourceDocument, input: unknown): Suite {
  const test = { name: file, place: placeOf([]), input, timeoutMs: undefined, expect: [], settings: NO_SETTINGS };
  return { file, form: 'action', tests: [test], notes: [`${file} says nothing of the output: a job that completes passes`] };
}

/** Reads the tests that a `wherry.yaml` holds itself. Throws as {@link readSuite}. */
export function readProjectSuite(text: string, file: string): Suite {
  const source = openDocument(text, file, HINT);
  return readTests({ source, form: 'wherry', at: ['tests'], value: (source.read() as { readonly tests?: unknown }).tests });
}

interface Reading {
  readonly source: SourceDocument;
  readonly form: Form;
  /** Where in the file the value stands. */
  readonly at: Segments;
  readonly value: unknown;
}

type Entry = Readonly<Record<string, unknown>> & { readonly input: unknown };

function readTests({ source, form, at, value }: Reading): Suite {
  const refuse = (findings: readonly Finding[]): WherryError => source.refusal(findings, () => HINT);
  const wrong = checkShape(form, value).map((finding) => ({ ...finding, at: [...at, ...finding.at] }));
  if (wrong.length > 0) throw refuse(wrong);
  const listAt = form === 'hub' ? [...at, 'tests'] : at;
  const entries = (form === 'hub' ? (value as { readonly tests: unknown }).tests : value) as readonly Entry[];
  const shared = form === 'hub' ? settingsOfHub((value as { readonly config?: unknown }).config) : NO_SETTINGS;
  const findings: Finding[] = [];
  const notes = new Set<string>();
  const tests = entries.map((entry, index): Test => {
    const entryAt = [...listAt, index];
    findings.push(...mistyped(entry, { form, at: entryAt, notes }));
    const expect = [
      ...outputsOf(entry, { at: entryAt, findings, notes }),
      ...expectationsOf(entry['expect'], [...entryAt, 'expect'], findings),
    ];
    return {
      name: typeof entry['name'] === 'string' ? entry['name'] : `test ${index + 1}`,
      place: source.placeOf(entryAt),
      input: entry.input,
      timeoutMs: timeoutOf(entry['timeout']),
      expect,
      settings: form === 'action' ? settingsOfAction(entry['hardwareConfig']) : shared,
    };
  });
  if (findings.length > 0) throw refuse(findings);
  return { file: source.file, form, tests, notes: [...notes] };
}

function checkShape(form: Form, value: unknown): readonly Finding[] {
  // The schemas are our own, and a test checks that they are some.
  const check = new Ajv({ allErrors: true, verbose: true, allowUnionTypes: true, meta: false, validateSchema: false });
  const isRight = check.compile(TEST_SCHEMAS[form]);
  return isRight(value) ? [] : (isRight.errors ?? []).map(findingOf);
}

function findingOf(error: ErrorObject): Finding {
  const { instancePath, keyword, params, data, parentSchema } = error;
  const at = instancePath
    .split('/')
    .slice(1)
    .map((part) => (/^\d+$/.test(part) ? Number(part) : part.replaceAll('~1', '/').replaceAll('~0', '~')));
  if (keyword === 'required') return { at, problem: `'${params['missingProperty']}' is missing` };
  if (keyword === 'additionalProperties') {
    const name = String(params['additionalProperty']);
    return unknownField(name, Object.keys((parentSchema?.['properties'] as object | undefined) ?? {}), at);
  }
  const field = at.length === 0 ? 'the file' : `'${at.filter((part) => typeof part === 'string').at(-1) ?? at.at(-1)}'`;
  const wanted = wantedOf(error);
  return { at, problem: `${field} should ${wanted.replace(/^must /, '')}, not ${shorten(JSON.stringify(data) ?? 'nothing', 60)}` };
}

function wantedOf({ keyword, params, message, parentSchema }: ErrorObject): string {
  if (keyword === 'type') return `be ${[params['type']].flat().map(nameOfType).join(' or ')}`;
  const example = (parentSchema?.['examples'] as readonly string[] | undefined)?.[0];
  if (keyword === 'pattern' && example !== undefined) return `be written like ${example}`;
  return message ?? 'be something else';
}

function nameOfType(type: unknown): string {
  const names: Readonly<Record<string, string>> = { string: 'a text', integer: 'a whole number', array: 'a list', object: 'an object' };
  return names[String(type)] ?? `a ${String(type)}`;
}

function unknownField(name: string, known: readonly string[], at: Segments): Finding {
  const nearest = findNearest(name, known);
  return {
    at: [...at, name],
    isKey: true,
    problem: `'${name}' is not a known field${nearest === undefined ? '' : `; did you mean '${nearest}'`}`,
  };
}

interface EntryContext {
  readonly at: Segments;
  readonly notes: Set<string>;
}

/** Files in the wild carry fields of their own, which are told and left alone; a known one with a letter wrong would make a test that asserts nothing. */
function mistyped(entry: Entry, { form, at, notes }: EntryContext & { readonly form: Form }): readonly Finding[] {
  const known = FIELD_NAMES[form];
  return Object.keys(entry).flatMap((name) => {
    if (known.includes(name)) return [];
    if (findNearest(name, known) !== undefined) return [unknownField(name, known, at)];
    notes.add(`'${name}' is not a field of tests and is not read`);
    return [];
  });
}

function outputsOf(entry: Entry, { at, notes, findings }: EntryContext & { readonly findings: Finding[] }): readonly Expectation[] {
  const [canonical] = OUTPUT_SPELLINGS;
  const given = OUTPUT_SPELLINGS.filter((name) => Object.hasOwn(entry, name));
  const [name, second] = given;
  if (name === undefined) return [];
  if (second !== undefined)
    findings.push({ at: [...at, second], isKey: true, problem: `'${name}' and '${second}' are two spellings of one field` });
  if (name !== canonical) notes.add(`'${name}' is read as '${canonical}', which is the canonical spelling`);
  const value = entry[name];
  // The documentation's own example; no handler answers so.
  if (name === 'expected_output' && JSON.stringify(value) === '{"status":"COMPLETED"}') {
    notes.add(`'${name}' of {"status":"COMPLETED"} is read as: the job completes, whatever its output`);
    return [];
  }
  return [{ kind: 'equals', at: '', value, tolerance: 0 }];
}

type Expected = Readonly<Record<string, unknown>>;

function expectationsOf(value: unknown, at: Segments, findings: Finding[]): readonly Expectation[] {
  if (value === undefined) return [];
  const parts: readonly (readonly [Expected, Segments])[] = Array.isArray(value)
    ? value.map((part, index) => [part as Expected, [...at, index]] as const)
    : [[value as Expected, at]];
  return parts.flatMap(([part, partAt]) => {
    const problems = problemsOf(part, partAt);
    findings.push(...problems);
    return problems.length > 0 ? [] : expectationsIn(part);
  });
}

function problemsOf(part: Expected, at: Segments): readonly Finding[] {
  const found: Finding[] = [];
  const { at: pointer, regex, error, tolerance, schema } = part;
  if (typeof pointer === 'string' && parsePointer(pointer) === undefined)
    found.push({ at: [...at, 'at'], problem: `'${pointer}' is no JSON pointer; write /name/0, with ~1 for a slash and ~0 for a tilde` });
  for (const [name, pattern] of Object.entries({ regex, error })) {
    const why = typeof pattern === 'string' ? faultOf(pattern) : undefined;
    if (why !== undefined) found.push({ at: [...at, name], problem: `'${name}' is no regular expression: ${why}` });
  }
  const fault = schema === undefined ? undefined : faultOfSchema(schema as object);
  if (fault !== undefined) found.push({ at: [...at, 'schema'], problem: `'schema' is no JSON schema: ${fault}` });
  if (error === false) found.push({ at: [...at, 'error'], problem: "'error' is false; leave it out, a job that fails fails its test" });
  const isCompared = ['equals', 'subset', 'stream'].some((name) => name in part);
  if (tolerance !== undefined && !isCompared)
    found.push({ at: [...at, 'tolerance'], isKey: true, problem: "'tolerance' goes with equals, subset or stream" });
  const outputs = ['equals', 'subset', 'contains', 'regex', 'schema', 'size', 'command'].filter((name) => name in part);
  if (error !== undefined && outputs.length > 0)
    found.push({ at: [...at, 'error'], isKey: true, problem: `a job that fails has no output for '${outputs[0]}'` });
  if (pointer !== undefined && outputs.every((name) => name === 'size' || name === 'command'))
    found.push({ at: [...at, 'at'], isKey: true, problem: "'at' goes with equals, subset, contains, regex or schema" });
  return found;
}

function faultOf(pattern: string): string | undefined {
  try {
    new RegExp(pattern, 'u');
    return undefined;
  } catch (thrown) {
    return thrown instanceof Error ? thrown.message.replace(/^Invalid regular expression: /, '') : 'it cannot be read';
  }
}

function faultOfSchema(schema: object): string | undefined {
  try {
    compileSchema(schema);
    return undefined;
  } catch (thrown) {
    return messageOf(thrown);
  }
}

function expectationsIn(part: Expected): readonly Expectation[] {
  const at = (part['at'] as string | undefined) ?? '';
  const tolerance = (part['tolerance'] as number | undefined) ?? 0;
  const makers: Readonly<Record<string, (value: unknown) => Expectation>> = {
    equals: (value) => ({ kind: 'equals', at, value, tolerance }),
    subset: (value) => ({ kind: 'subset', at, value, tolerance }),
    contains: (value) => ({ kind: 'contains', at, value }),
    regex: (value) => ({ kind: 'regex', at, pattern: String(value) }),
    schema: (value) => ({ kind: 'schema', at, schema: value as object }),
    error: (value) => ({ kind: 'error', pattern: value === true ? '' : String(value) }),
    stream: (value) => ({ kind: 'stream', value: value as readonly unknown[], tolerance }),
    latency: (value) => ({ kind: 'latency', limitMs: parseDuration(String(value)) }),
    coldStart: (value) => ({ kind: 'coldStart', limitMs: parseDuration(String(value)) }),
    size: (value) => ({ kind: 'size', limitBytes: parseSize(String(value)) }),
    command: (value) => ({ kind: 'command', command: String(value) }),
  };
  return Object.entries(makers).flatMap(([name, make]) => (Object.hasOwn(part, name) ? [make(part[name])] : []));
}

function timeoutOf(value: unknown): number | undefined {
  if (typeof value === 'number') return value;
  return typeof value === 'string' ? parseDuration(value) : undefined;
}

type Fields = Readonly<Record<string, unknown>>;

function settingsOfAction(value: unknown): TestSettings {
  const { endpoint, template, endpointConfig = {}, templateConfig = {} } = (value ?? {}) as Fields;
  return {
    ...(endpoint !== undefined && { endpointId: String(endpoint) }),
    ...(template !== undefined && { templateId: String(template) }),
    endpointConfig: endpointConfig as Fields,
    templateConfig: templateConfig as Fields,
  };
}

/** The hub's words for what the action calls otherwise. */
function settingsOfHub(value: unknown): TestSettings {
  const { gpuTypeId, gpuCount, cpuFlavor, env, allowedCudaVersions } = (value ?? {}) as Fields;
  return {
    endpointConfig: {
      ...(gpuTypeId !== undefined && { gpuIds: gpuTypeId }),
      ...(gpuCount !== undefined && { gpuCount }),
      ...(cpuFlavor !== undefined && { instanceIds: [cpuFlavor] }),
      ...(Array.isArray(allowedCudaVersions) && { allowedCudaVersions: allowedCudaVersions.join(',') }),
    },
    templateConfig: { ...(env !== undefined && { env }) },
  };
}
