import { describe, expect, it } from 'vitest';
import { fillEnv, SECRET_NAME_PATTERN, secretsOf } from './secret.js';

const values = new Map([
  ['A', 'one'],
  ['b-c/d.e', '$& {{ RUNPOD_SECRET_A }}'],
]);

describe('references to secrets', () => {
  it('are names of variables and places within values (row 83)', () => {
    const env = { URL: 'x://u:{{ RUNPOD_SECRET_b-c/d.e }}@{{RUNPOD_SECRET_A}}', PLAIN: 'p' };
    expect(secretsOf({ env, secrets: ['Z', 'A'] })).toEqual(['A', 'Z', 'b-c/d.e']);
    expect(secretsOf({ env: {} })).toEqual([]);
  });

  it('are taken for names whatever they hold, so that a mistake is refused and not passed on', () => {
    expect(secretsOf({ env: { A: '{{ RUNPOD_SECRET_ä!b }}' } })).toEqual(['ä!b']);
  });

  it.each(['{{ RUNPOD_SECRET_ }}', '{{ RUNPOD_SECRET_A B }}', '{ RUNPOD_SECRET_A }', '{{ SECRET_A }}', 'RUNPOD_SECRET_A'])(
    'are not %j',
    (value) => {
      expect(secretsOf({ env: { A: value } })).toEqual([]);
      expect(fillEnv({ env: { A: value } }, values)).toEqual({ env: { A: value }, secretive: [] });
    },
  );

  it('give way to values once, and what holds one is told', () => {
    const env = { URL: '{{RUNPOD_SECRET_A}}-{{ RUNPOD_SECRET_b-c/d.e }}', PLAIN: 'p', A: 'of the file' };
    expect(fillEnv({ env, secrets: ['A'] }, values)).toEqual({
      env: { URL: 'one-$& {{ RUNPOD_SECRET_A }}', PLAIN: 'p', A: 'one' },
      secretive: ['URL', 'A'],
    });
  });
});

it.each([
  ['hf-token', true],
  ['_a.b/c-D9', true],
  ['9a', false],
  ['a b', false],
  ['', false],
  ['a'.repeat(192), false],
])('%j is a name of a secret: %s', (name, isOne) => {
  expect(new RegExp(SECRET_NAME_PATTERN).test(name)).toBe(isOne);
});
