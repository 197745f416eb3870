import { describe, expect, it } from 'vitest';
import { chooseGpus, countHeld, type GpuDevice } from './gpu-device.js';

const HOST: readonly GpuDevice[] = [
  { id: 'GPU-a', name: 'NVIDIA L4' },
  { id: 'GPU-b', name: 'NVIDIA L4' },
  { id: 'GPU-c', name: 'NVIDIA H200' },
];
const choose = (held: readonly string[], count: number, kinds: readonly string[] = []) => chooseGpus(HOST, new Set(held), { count, kinds });

describe('the GPUs that a worker gets (row 89)', () => {
  it('are the first that nobody holds', () => {
    expect(choose([], 2)).toEqual(['GPU-a', 'GPU-b']);
    expect(choose(['GPU-a'], 1)).toEqual(['GPU-b']);
    expect(choose(['GPU-b'], 2)).toEqual(['GPU-a', 'GPU-c']);
    expect(choose(['GPU-a', 'GPU-b', 'GPU-c'], 1)).toEqual([]);
    expect(choose([], 0)).toEqual([]);
  });

  it('are not those that are held by their index', () => {
    expect(choose(['0'], 1)).toEqual(['GPU-b']);
  });

  it('are of a wanted kind while one is free', () => {
    expect(choose([], 1, ['HOPPER_141'])).toEqual(['GPU-c']);
    expect(choose([], 1, ['AMPERE_24', '-NVIDIA L4', 'HOPPER_141'])).toEqual(['GPU-c']);
    expect(choose(['GPU-c'], 1, ['HOPPER_141'])).toEqual(['GPU-a']);
    expect(choose([], 1, ['NEBULA_512'])).toEqual(['GPU-a']);
    expect(chooseGpus([{ id: '0' }], new Set(), { count: 1, kinds: ['HOPPER_141'] })).toEqual(['0']);
  });
});

describe('what a worker of a former server holds', () => {
  it('is as many GPUs as it remembers, by UUID or by index', () => {
    expect([countHeld([], HOST), countHeld(['GPU-c'], HOST), countHeld(['0', 'GPU-b'], HOST)]).toEqual([0, 1, 2]);
  });

  it('is all there are when one of them is not known now: it may be any', () => {
    expect([countHeld(['GPU-x'], HOST), countHeld(['GPU-x'], []), countHeld(['3'], HOST)]).toEqual([3, 1, 3]);
  });
});
