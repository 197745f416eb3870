import { expect, it } from 'vitest';
import { compileSchema } from './json-schema.js';

const DRAFT_2020 = 'https://json-schema.org/draft/2020-12/schema';

it('reads draft 7, and draft 2020-12 where $schema says so', () => {
  expect(compileSchema({ items: [{ type: 'string' }] })([1])).toEqual(["at '/0' must be string"]);
  expect(compileSchema({ $schema: 'http://json-schema.org/draft-07/schema#', type: 'object' })(1)).toEqual(['must be object']);
  const tuple = compileSchema({ $schema: DRAFT_2020, prefixItems: [{ type: 'string' }] });
  expect(tuple([1])).toEqual(["at '/0' must be string"]);
  expect(tuple(['a'])).toEqual([]);
});

it('refuses a keyword that would check nothing', () => {
  expect(() => compileSchema({ prefixItems: [{ type: 'string' }] })).toThrow('prefixItems');
  expect(() => compileSchema({ requried: ['a'] })).toThrow('requried');
  expect(() => compileSchema({ type: 'text' })).toThrow();
});

it('takes formats for annotations', () => {
  expect(compileSchema({ type: 'string', format: 'email' })('no address')).toEqual([]);
});
