import { expect, test } from 'vitest';
import { WherryError } from '../base/errors.js';
import { parseProject } from './parse.js';

function refusalOf(text: string): WherryError {
  try {
    parseProject(text, 'wherry.yaml');
  } catch (thrown) {
    if (thrown instanceof WherryError) return thrown;
    throw thrown;
  }
  throw new Error('the text was accepted');
}

test('reads a file with every group', () => {
  const text =
    'name: echo\nhandler: src/handler.py:handler\nbase: python:3.12-slim\nscale: { min: 1, idle: 10s }\nresources: { memory: 1Gi, gpu: [A, B] }\n';
  expect(parseProject(text, 'wherry.yaml')).toEqual({
    name: 'echo',
    handler: 'src/handler.py:handler',
    base: 'python:3.12-slim',
    scale: { min: 1, idle: '10s' },
    resources: { memory: '1Gi', gpu: ['A', 'B'] },
  });
});

test.each(['', '# nothing\n', '---\n', '\uFEFF'])('reads an empty file as no settings', (text) => {
  expect(parseProject(text, 'wherry.yaml')).toEqual({});
});

test('keeps environment values as the text that stands in the file', () => {
  const { env, args } = parseProject('env: { VERSION: 1.10, MASK: 0o17, ON: true, EMPTY: "" }\nargs: [--level, 1.0]\n', 'wherry.yaml');
  expect(env).toEqual({ VERSION: '1.10', MASK: '0o17', ON: 'true', EMPTY: '' });
  expect(args).toEqual(['--level', '1.0']);
});

test.each([
  ['name: echo\nscale:\n  idel: 5s\n', "wherry.yaml:3:3: 'scale.idel' is not a known field; did you mean 'idle'"],
  ['handlr: a.py\n', "wherry.yaml:1:1: 'handlr' is not a known field; did you mean 'handler'"],
  ['idle: 5s\n', "wherry.yaml:1:1: 'idle' is not a known field; did you mean 'scale.idle'"],
  ['zzzzzz: 5s\n', "wherry.yaml:1:1: 'zzzzzz' is not a known field"],
  ['scale:\n  idle: 5\n', "wherry.yaml:2:9: 'scale.idle' should be a duration such as '30s', not 5"],
  ['scale: { max: many }\n', "wherry.yaml:1:15: 'scale.max' should be a whole number such as 3, not 'many'"],
  ['scale: { max: -1 }\n', "wherry.yaml:1:15: 'scale.max' should be at least 0, not -1"],
  ['scale: { value: 0 }\n', "wherry.yaml:1:17: 'scale.value' should be more than 0, not 0"],
  ['scale: { type: fifo }\n', "wherry.yaml:1:16: 'scale.type' should be one of queueDelay, requestCount, not 'fifo'"],
  ['scale: 3\n', 'wherry.yaml:1:8: \'scale\' should be a group of fields such as {"min":0,"max":3,"idle":"5s"}, not 3'],
  ['resources: { memory: 512M }\n', "wherry.yaml:1:22: 'resources.memory' should be a size such as '512MiB', not '512M'"],
  ['args: [[1]]\n', "wherry.yaml:1:8: 'args.0' should be a text such as '--verbose', not [1]"],
  ['env: { A: [1] }\n', "wherry.yaml:1:11: 'env.A' should be a text, a number or a boolean, not [1]"],
  ['env: { 1A: x }\n', "wherry.yaml:1:8: '1A' in 'env' should be letters, digits and _, not beginning with a digit"],
  ['env:\n', 'wherry.yaml:1:1: \'env\' should be a map of strings such as {"LOG_LEVEL":"info"}, not nothing'],
  ['- a\n', 'wherry.yaml:1:1: the file should hold fields with values, not ["a"]'],
  ['scale: { min: 5 }\n', "wherry.yaml:1:15: 'scale.min' is 5, more than 'scale.max', which is 3"],
  ['env: { A: x }\nsecrets: [B, A]\n', "wherry.yaml:2:14: 'secrets' names 'A', which 'env' sets too"],
  ['secrets: [a-b]\n', "wherry.yaml:1:11: 'secrets.0' should be a text such as 'HF_TOKEN', not 'a-b'"],
  ['platforms: [linux/amd64, linux/arm64, linux/amd64]\n', "wherry.yaml:1:39: 'platforms' names 'linux/amd64' twice"],
  ['dockerfile: ../Dockerfile\n', "wherry.yaml:1:13: 'dockerfile' is '../Dockerfile': the path leaves the project"],
  ['handler: ../a.py\n', "wherry.yaml:1:10: 'handler' should be path:function, not '../a.py': the path leaves the project"],
  ['handler: /a.py\n', "wherry.yaml:1:10: 'handler' should be path:function, not '/a.py': the path is relative to the project"],
  ['handler: a.rb\n', "wherry.yaml:1:10: 'handler' should be path:function, not 'a.rb': 'a.rb' is neither a Python nor a Node file"],
  ['handler: a.py:x y\n', "wherry.yaml:1:10: 'handler' should be path:function, not 'a.py:x y': 'x y' is not a function's name"],
  ['handler: a.py\ninterpreter: node@20\n', "wherry.yaml:2:14: 'interpreter' should be for python, as the handler is, not 'node@20'"],
])('names place, field and what was expected in %j', (text, message) => {
  expect(refusalOf(text)).toMatchObject({ code: 'CONFIG_INVALID', message });
});

test('lists every problem in the order of the text', () => {
  const refusal = refusalOf('name: Echo!\nscale:\n  idel: 5s\n  max: many\n');
  expect(refusal.message).toBe("wherry.yaml:1:7: 'name' should be a text such as 'echo', not 'Echo!' (and 2 more)");
  expect(refusal.hint).toBe('wherry explain name');
  expect(refusal.detail).toMatchObject([
    { line: 1, column: 7, path: 'name' },
    { line: 3, column: 3, path: 'scale.idel' },
    { line: 4, column: 8, path: 'scale.max' },
  ]);
});

test.each([
  ['a: [1, 2\nb: 3\n', /^wherry\.yaml:\d+:\d+: /],
  ['name: a\nname: b\n', /^wherry\.yaml:2:1: map keys must be unique/],
  ['name: !!js/function x\n', /^wherry\.yaml:1:7: unresolved tag/],
  ['name: ab\n---\nname: cd\n', /^wherry\.yaml:2:1: source contains multiple documents/],
  ['env: { A: *gone }\n', /^wherry\.yaml:1:\d+: |aliases cannot be resolved/],
])('refuses text that is not one plain YAML document: %j', (text, message) => {
  expect(refusalOf(text)).toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringMatching(message) });
});

test('refuses a file whose aliases multiply', () => {
  const levels = Array.from(
    { length: 9 },
    (_, level) =>
      `  - &l${level} [${Array(9)
        .fill(level === 0 ? 'x' : `*l${level - 1}`)
        .join(', ')}]`,
  );
  expect(refusalOf(`args:\n${levels.join('\n')}\n`)).toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringMatching(/aliases/) });
});

test.each(['scale: &a\n  min: *a\n', 'tests:\n  - &a { input: *a }\n'])('refuses an anchor that holds itself: %j', (text) => {
  expect(refusalOf(text).code).toBe('CONFIG_INVALID');
});
