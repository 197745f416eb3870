import { describe, expect, it } from 'vitest';
import type { Digest } from '../../../oci/digest.js';
import { type ForkPlanInput, planFork } from './plan.js';

const input: ForkPlanInput = {
  image: `sha256:${'a'.repeat(64)}` as Digest,
  sealId: 'seal',
  program: '/p',
  app: '/root/wherry/app',
  argv: ['/bin/python3', '-u', '-m', 'wherry', '/root/wherry/app/src/handler.py:handler', 'more'],
  env: { A: '1', B: '2' },
  own: ['TOKEN'],
  limits: {},
};
const keyOf = (change: Partial<ForkPlanInput>) => planFork({ ...input, ...change })?.key;

describe('planFork', () => {
  it('finds the interpreter, its flags, and where the project keeps its modules', () => {
    expect(planFork(input)).toMatchObject({
      command: ['/bin/python3', '-u'],
      handler: '/root/wherry/app/src/handler.py',
      roots: ['/root/wherry/app/src', '/root/wherry/app'],
    });
  });

  it('gives another key when anything differs that a forked worker could show', () => {
    const changes: Partial<ForkPlanInput>[] = [
      { image: `sha256:${'b'.repeat(64)}` as Digest },
      { sealId: 'other' },
      { program: '/q' },
      { argv: ['/bin/python3', '-m', 'wherry', '/root/wherry/app/src/handler.py:handler'] },
      { env: { A: '1' } },
      { env: { A: '1', B: '3' } },
      { own: [] },
      { limits: { memoryBytes: 1 } },
    ];
    expect(new Set([{}, ...changes].map(keyOf)).size).toBe(changes.length + 1);
    expect(keyOf({ env: { B: '2', A: '1' } })).toBe(keyOf({}));
    expect(keyOf({ argv: [...input.argv, 'argument'] })).toBe(keyOf({}));
  });

  it.each([
    ['another program', ['/bin/python3', '-u', '/root/wherry/app/main.py']],
    ['another module', ['/bin/python3', '-m', 'http.server', '/root/wherry/app/handler.py:handler']],
    ['a flag that changes where modules are found', ['/bin/python3', '-I', '-m', 'wherry', '/root/wherry/app/handler.py:handler']],
    ['a handler elsewhere', ['/bin/python3', '-m', 'wherry', '/elsewhere/handler.py:handler']],
    ['no handler', ['/bin/python3', '-m', 'wherry']],
  ])('leaves %s to be spawned', (_what, argv) => {
    expect(planFork({ ...input, argv })).toBeUndefined();
  });
});
