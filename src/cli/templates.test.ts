import { expect, test } from 'vitest';
import { parseProject } from '../project/parse.js';
import { initFiles } from './templates.js';

function textsOf(kind: 'python' | 'node', { name = 'echo', base = 'scratch' } = {}): Readonly<Record<string, string>> {
  return Object.fromEntries(initFiles({ name, base, kind }).map(({ path, text }) => [path, text]));
}

test.each(['python', 'node'] as const)('writes a wherry.yaml for %s that is accepted and names a written file', (kind) => {
  const texts = textsOf(kind);
  const { name, base, handler } = parseProject(texts['wherry.yaml'] ?? '', 'wherry.yaml');
  expect({ name, base }).toEqual({ name: 'echo', base: 'scratch' });
  expect(Object.keys(texts)).toContain(handler?.split(':')[0]);
});

test.each([{ name: 'true' }, { name: '123' }, { name: '1e5' }, { name: 'a-b', base: 'localhost:5000/acme/base:1.0' }, { base: '123' }])(
  'keeps the name and the base as given: %j',
  (given) => {
    expect(parseProject(textsOf('python', given)['wherry.yaml'] ?? '', 'wherry.yaml')).toMatchObject(given);
  },
);

test('writes the layout of the guide, with every copied file in it', () => {
  const texts = textsOf('python');
  expect(Object.keys(texts)).toEqual(
    expect.arrayContaining(['Dockerfile', 'src/handler.py', 'builder/requirements.txt', '.github/tests.json']),
  );
  const copied = [...(texts['Dockerfile'] ?? '').matchAll(/^COPY (\S+)/gm)].map(([, path]) => path);
  expect(Object.keys(texts)).toEqual(expect.arrayContaining(copied));
  expect(texts['Dockerfile']).toContain('FROM python:3.12-slim\n');
});

test("takes the project's base in the Dockerfile when it is an image", () => {
  expect(textsOf('node', { base: 'node:22-slim' })['Dockerfile']).toContain('FROM node:22-slim\n');
});

test('writes tests and an input as JSON', () => {
  const texts = textsOf('node');
  expect(JSON.parse(texts['test_input.json'] ?? '')).toEqual({ input: { name: 'Ada' } });
  expect(JSON.parse(texts['.github/tests.json'] ?? '')).toMatchObject([{ input: { name: 'Ada' }, output: { message: 'Hello, Ada!' } }, {}]);
});
