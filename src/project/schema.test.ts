import { Ajv } from 'ajv';
import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import committed from '../../schema/wherry.schema.json' with { type: 'json' };
import { explainField, listFields } from './explain.js';
import { FIELDS } from './fields.js';
import { parseProject } from './parse.js';
import { WHERRY_SCHEMA } from './schema.js';

test('the committed schema is the one of the table', () => {
  expect(committed).toEqual(JSON.parse(JSON.stringify(WHERRY_SCHEMA)));
});

test('it is a JSON schema', () => {
  const ajv = new Ajv({ allowUnionTypes: true });
  expect(ajv.validateSchema(WHERRY_SCHEMA), ajv.errorsText()).toBe(true);
});

test.each(FIELDS.filter(({ path }) => path !== 'dockerfile').map(({ path }) => path))('the example of %s is accepted', (path) => {
  expect(() => parseProject(explainField(path).example, 'wherry.yaml')).not.toThrow();
});

test.each(FIELDS.filter((field) => field.default !== null))('the default of $path is accepted', ({ path, default: value }) => {
  const nested = path.split('.').reduceRight<unknown>((inner, key) => ({ [key]: inner }), value);
  expect(() => parseProject(stringify(nested), 'wherry.yaml')).not.toThrow();
});

test('explains a field', () => {
  expect(explainField('scale.idle')).toEqual({
    path: 'scale.idle',
    type: 'duration',
    default: '5s',
    goesTo: 'endpoint',
    description: 'How long a worker waits for another job before it is stopped.',
    example: 'scale:\n  idle: 30s',
    isInEffect: true,
  });
  expect(explainField('scale.type').type).toBe('one of queueDelay, requestCount');
});

test.each([
  ['scale.idel', "did you mean 'scale.idle'"],
  ['idle', "did you mean 'scale.idle'"],
  ['hanlder', "did you mean 'handler'"],
])('suggests the nearest field for %s', (path, message) => {
  expect(() => explainField(path)).toThrow(expect.objectContaining({ code: 'USAGE', message: expect.stringContaining(message) }));
});

test.each([
  ['scale.min', true],
  ['resources.memory', true],
  ['resources.gpu', true],
  ['budget.imageSize', true],
  ['budget.latency', true],
])('says whether %s does something yet', (path, isInEffect) => {
  expect(explainField(path).isInEffect).toBe(isInEffect);
});

test('lists every field once, each with a full sentence', () => {
  const fields = listFields();
  expect(new Set(fields.map(({ path }) => path)).size).toBe(FIELDS.length);
  for (const { description } of fields) expect(description).toMatch(/^[A-Z].*\.$/);
});
