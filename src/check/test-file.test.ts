import { readFileSync } from 'node:fs';
import { Ajv } from 'ajv';
import { describe, expect, it } from 'vitest';
import { WherryError } from '../base/errors.js';
import type { Problem } from '../project/document.js';
import { TEST_SCHEMAS } from './schemas.js';
import { FORMS } from './suite.js';
import { readProjectSuite, readSuite } from './test-file.js';

function problemsOf(read: () => unknown): readonly string[] {
  try {
    read();
  } catch (thrown) {
    if (thrown instanceof WherryError && thrown.code === 'CONFIG_INVALID')
      return (thrown.detail as readonly Problem[]).map(({ file, line, column, problem }) => `${file}:${line}:${column} ${problem}`);
    throw thrown;
  }
  throw new Error('nothing was refused');
}

it.each(FORMS)('the schema of the form %s is a JSON schema, and the published one', (form) => {
  const published = JSON.parse(readFileSync(new URL(`../../schema/tests-${form}.schema.json`, import.meta.url), 'utf8'));
  expect(published).toEqual(JSON.parse(JSON.stringify(TEST_SCHEMAS[form])));
  const ajv = new Ajv({ allowUnionTypes: true });
  expect(ajv.validateSchema(TEST_SCHEMAS[form]), ajv.errorsText()).toBe(true);
});

describe("the action's file", () => {
  it.each(['output', 'expectedOutput', 'expected_output'])('takes the expected output under %s (row 111)', (name) => {
    const { tests, notes, form } = readSuite(JSON.stringify([{ input: {}, [name]: 'Hello' }]), 'tests.json');
    expect(form).toBe('action');
    expect(tests[0]?.expect).toEqual([{ kind: 'equals', at: '', value: 'Hello', tolerance: 0 }]);
    expect(notes).toEqual(name === 'output' ? [] : [`'${name}' is read as 'output', which is the canonical spelling`]);
  });

  it('reads the example of the documentation, whose expected output is a state', () => {
    const { tests, notes } = readSuite('[{"input": {"a": 1}, "expected_output": {"status": "COMPLETED"}}]', 'tests.json');
    expect(tests[0]?.expect).toEqual([]);
    expect(notes.at(-1)).toContain('whatever its output');
  });

  it('gives tests without hardwareConfig the defaults, and passes the others on', () => {
    const hardwareConfig = { endpointConfig: { gpuIds: 'AMPERE_16', own: 1 }, templateConfig: { env: [{ key: 'A', value: 'b' }] } };
    const { tests } = readSuite(
      JSON.stringify([{ input: 1 }, { input: 2, hardwareConfig }, { input: 3, hardwareConfig: { endpoint: 'e' } }]),
      't',
    );
    expect(tests.map(({ settings }) => settings)).toEqual([
      { endpointConfig: {}, templateConfig: {} },
      hardwareConfig,
      { endpointId: 'e', endpointConfig: {}, templateConfig: {} },
    ]);
  });

  it('names file, line and column of every problem, and what was meant', () => {
    const text = '[\n  {"input": {}, "expectedOuput": 1},\n  {"inptu": {}},\n  {"input": 1, "timeout": "soon"}\n]';
    expect(problemsOf(() => readSuite(text, 'tests.json'))).toEqual([
      "tests.json:3:3 'input' is missing",
      'tests.json:4:27 \'timeout\' should be written like 30s, not "soon"',
    ]);
    expect(problemsOf(() => readSuite(text.split('\n').slice(0, 2).join('\n').replace(/,$/, ']'), 'tests.json'))).toEqual([
      "tests.json:2:17 'expectedOuput' is not a known field; did you mean 'expectedOutput'",
    ]);
  });

  it('says where JSON breaks off', () => {
    expect(problemsOf(() => readSuite('[{"input": {}', 'tests.json'))[0]).toMatch(/^tests\.json:1:\d+ /);
  });

  it('tells fields that it does not know, and reads on', () => {
    expect(readSuite('[{"input": {}, "comment": "x"}]', 't').notes).toEqual(["'comment' is not a field of tests and is not read"]);
  });

  it('refuses two spellings at once, and an empty list', () => {
    expect(problemsOf(() => readSuite('[{"input": 1, "output": 1, "expected_output": 2}]', 't'))[0]).toContain(
      'two spellings of one field',
    );
    expect(problemsOf(() => readSuite('[]', 't'))).toHaveLength(1);
  });
});

describe("the hub's file (row 112)", () => {
  it('has names, time-outs in milliseconds and one configuration for all', () => {
    const file = {
      tests: [{ name: 'greets', input: { name: 'Ada' }, timeout: 10_000 }],
      config: { gpuTypeId: 'NVIDIA L4', gpuCount: 1, env: [{ key: 'A', value: '1' }], allowedCudaVersions: ['12.4', '12.5'] },
    };
    const { tests, form } = readSuite(JSON.stringify(file), '.runpod/tests.json');
    expect(form).toBe('hub');
    expect(tests).toEqual([
      {
        name: 'greets',
        place: { file: '.runpod/tests.json', line: 1, column: 11 },
        input: { name: 'Ada' },
        timeoutMs: 10_000,
        expect: [],
        settings: {
          endpointConfig: { gpuIds: 'NVIDIA L4', gpuCount: 1, allowedCudaVersions: '12.4,12.5' },
          templateConfig: { env: [{ key: 'A', value: '1' }] },
        },
      },
    ]);
  });

  it('needs a name and an input', () => {
    expect(problemsOf(() => readSuite('{"tests": [{"timeout": 1}]}', 't'))).toEqual([
      "t:1:12 'name' is missing",
      "t:1:12 'input' is missing",
    ]);
  });
});

it('takes the request of test_input.json for a test of any output (row 114)', () => {
  const { tests, notes } = readSuite('{"input": {"name": "Ada"}}', 'test_input.json');
  expect(tests).toMatchObject([{ name: 'test_input.json', input: { name: 'Ada' }, expect: [] }]);
  expect(notes).toEqual(['test_input.json says nothing of the output: a job that completes passes']);
});

describe('tests of a wherry.yaml', () => {
  const read = (expected: string) => readProjectSuite(`name: echo\ntests:\n  - input: {}\n    expect: ${expected}\n`, 'wherry.yaml');

  it.each([
    ['{equals: 1, tolerance: 0.1}', { kind: 'equals', at: '', value: 1, tolerance: 0.1 }],
    ['{subset: {a: 1}, at: /b}', { kind: 'subset', at: '/b', value: { a: 1 }, tolerance: 0 }],
    ['{contains: Ada}', { kind: 'contains', at: '', value: 'Ada' }],
    ["{regex: '^a+$', at: /0}", { kind: 'regex', at: '/0', pattern: '^a+$' }],
    ['{schema: {type: string}}', { kind: 'schema', at: '', schema: { type: 'string' } }],
    ['{error: true}', { kind: 'error', pattern: '' }],
    ['{error: ValueError}', { kind: 'error', pattern: 'ValueError' }],
    ['{stream: [1, 2]}', { kind: 'stream', value: [1, 2], tolerance: 0 }],
    ['{latency: 200ms}', { kind: 'latency', limitMs: 200 }],
    ['{coldStart: 2s}', { kind: 'coldStart', limitMs: 2_000 }],
    ['{size: 1kB}', { kind: 'size', limitBytes: 1_000 }],
    ['{command: ./check.sh}', { kind: 'command', command: './check.sh' }],
  ])('reads %s (B3)', (text, expectation) => {
    expect(read(text).tests[0]?.expect).toEqual([expectation]);
  });

  it('takes several expectations, each with its own place in the output', () => {
    expect(read('[{equals: 1, at: /a}, {contains: x, at: /b, latency: 1s}]').tests[0]?.expect).toEqual([
      { kind: 'equals', at: '/a', value: 1, tolerance: 0 },
      { kind: 'contains', at: '/b', value: 'x' },
      { kind: 'latency', limitMs: 1_000 },
    ]);
  });

  it.each([
    ['{equal: 1}', "wherry.yaml:4:14 'equal' is not a known field; did you mean 'equals'"],
    ["{regex: '('}", "wherry.yaml:4:21 'regex' is no regular expression: /(/u: Unterminated group"],
    ['{equals: 1, at: a}', /'at' should be written like \/message, not "a"$/],
    ['{equals: 1, at: /~2}', "wherry.yaml:4:29 '/~2' is no JSON pointer; write /name/0, with ~1 for a slash and ~0 for a tilde"],
    ['{regex: a, tolerance: 1}', /'tolerance' goes with equals, subset or stream$/],
    ['{error: true, equals: 1}', /a job that fails has no output for 'equals'$/],
    ['{schema: {type: text}}', /'schema' is no JSON schema: /],
    ['{schema: {prefixItems: []}}', /'schema' is no JSON schema: .*prefixItems/],
    ['{error: false}', /'error' is false; leave it out/],
    ['{latency: 1s, at: /a}', /'at' goes with/],
    ['{latency: fast}', /'latency' should be written like 500ms/],
    ['{}', /'expect' should NOT have fewer than 1/],
  ])('refuses %s', (text, problem) => {
    expect(problemsOf(() => read(text))[0]).toEqual(typeof problem === 'string' ? problem : expect.stringMatching(problem));
  });
});
