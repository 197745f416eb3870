import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { sliceElements, sliceMembers } from './raw-json.js';

describe('sliceMembers', () => {
  it('keeps digits, order and spelling of each value', () => {
    const text = ' { "input" : {"b":1,"a":12345678901234567890, "c":"\\u0041"} ,"x":[1, {"y":"}"}],"e":1.50 } ';
    const members = sliceMembers(text);
    expect(members?.raw.get('input')).toBe('{"b":1,"a":12345678901234567890, "c":"\\u0041"}');
    expect(members?.raw.get('x')).toBe('[1, {"y":"}"}]');
    expect(members?.raw.get('e')).toBe('1.50');
  });

  it.each(['', '[]', '1', 'null', '{', '{"a":1}x'])('gives undefined for %j', (text) => {
    expect(sliceMembers(text)).toBeUndefined();
  });

  it('finds every member of any JSON object, however it is spaced', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.constantFrom(undefined, 1, '\t'), (object, indent) => {
        const members = sliceMembers(JSON.stringify(object, null, indent));
        for (const [name, value] of Object.entries(JSON.parse(JSON.stringify(object)) as object))
          expect(JSON.parse(members?.raw.get(name) ?? 'missing')).toEqual(value);
      }),
    );
  });
});

describe('sliceElements', () => {
  it.each([
    ['[]', []],
    [' [ ] ', []],
    ['[1]', ['1']],
    ['[ 1.0 , "a,]\\"" , {"b":[1,{}]} , [[]] ]', ['1.0', '"a,]\\""', '{"b":[1,{}]}', '[[]]']],
  ])('cuts %s into the texts of its elements', (text, elements) => {
    expect(sliceElements(text)).toEqual(elements);
  });

  it.each(['{}', '1', 'x', '', '[1'])('gives nothing for %j', (text) => {
    expect(sliceElements(text)).toBeUndefined();
  });
});
