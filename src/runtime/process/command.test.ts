import { describe, expect, it } from 'vitest';
import { resolveArgv, resolveImageEnv } from './command.js';

const base = { root: '/data/roots/ab', interpreter: '/opt/bin/python3.11', args: null };

describe('resolveArgv', () => {
  it('puts the host interpreter and the unpacked paths in place of the image ones', () => {
    const config = { Entrypoint: ['python3', '-u', '-m', 'wherry', '/wherry/app/src/handler.py:handler'] };
    expect(resolveArgv({ ...base, config })).toEqual([
      '/opt/bin/python3.11',
      '-u',
      '-m',
      'wherry',
      '/data/roots/ab/wherry/app/src/handler.py:handler',
    ]);
  });

  it('takes the arguments of the release instead of Cmd', () => {
    const config = { Entrypoint: ['/usr/bin/node', '/wherry/sdk/main.mjs'], Cmd: ['a'] };
    expect(resolveArgv({ ...base, config, args: ['b', '/wherryman'] })).toEqual([
      '/opt/bin/python3.11',
      '/data/roots/ab/wherry/sdk/main.mjs',
      'b',
      '/wherryman',
    ]);
    expect(resolveArgv({ ...base, config })).toContain('a');
  });
});

describe('resolveImageEnv', () => {
  it('moves every part of a list and leaves PATH out', () => {
    const env = ['PATH=/usr/bin', 'PYTHONPATH=/wherry/sdk/python:/wherry/app:/usr/lib', 'ROOT=/wherry', 'URL=http://h/wherry/x', 'EMPTY='];
    expect(resolveImageEnv(env, '/r')).toEqual({
      PYTHONPATH: '/r/wherry/sdk/python:/r/wherry/app:/usr/lib',
      ROOT: '/r/wherry',
      URL: 'http://h/wherry/x',
      EMPTY: '',
    });
  });
});
