import { describe, expect, it, test } from 'vitest';
import { matchKinds } from './gpu.js';
import { countGpus, findMisfit, type GpuGrant, type NodeFacts, noticePlacement, resourcesOn } from './placement.js';
import type { ReleaseSpec } from './release.js';

const node = (labels: NodeFacts['labels'], isGpuIgnored = false): NodeFacts => ({ labels, isGpuIgnored, gpus: [] });
const L4 = node({ gpu: ['NVIDIA L4'], cuda: ['12.4'] });
const misfit = (wishes: Partial<ReleaseSpec>, on = L4, grant: GpuGrant = 'engine') => findMisfit({ resources: {}, ...wishes }, on, grant);

describe('kinds of GPUs (row 89)', () => {
  it.each([
    ['AMPERE_16', 'NVIDIA RTX A4000'],
    ['AMPERE_16', 'NVIDIA RTX 4000 SFF Ada Generation'],
    ['AMPERE_24', 'NVIDIA L4'],
    ['AMPERE_24', 'NVIDIA GeForce RTX 3090'],
    ['ADA_24', 'NVIDIA GeForce RTX 4090'],
    ['AMPERE_48', 'NVIDIA A40'],
    ['ADA_48_PRO', 'NVIDIA L40S'],
    ['AMPERE_80', 'NVIDIA A100-SXM4-80GB'],
    ['ADA_80_PRO', 'NVIDIA H100 80GB HBM3'],
    ['HOPPER_141', 'NVIDIA H200'],
  ])('%s has %s, which no other pool has', (pool, name) => {
    const pools = ['AMPERE_16', 'AMPERE_24', 'ADA_24', 'AMPERE_48', 'ADA_48_PRO', 'AMPERE_80', 'ADA_80_PRO', 'HOPPER_141'];
    expect(pools.filter((each) => matchKinds([each], [name]).isMet)).toEqual([pool]);
  });

  it.each(['Quadro RTX 4000', 'NVIDIA A100-PCIE-40GB', 'NVIDIA GeForce RTX 2080'])('%s is of no pool', (name) => {
    expect(matchKinds([name], []).unknown).toEqual([name]);
  });

  it('are names, too, whoever made them, and one of several is enough', () => {
    expect(matchKinds(['ADA_24', 'RTX 3090'], ['NVIDIA GeForce RTX 3090'])).toEqual({
      isMet: true,
      wanted: ['ADA_24', 'RTX 3090'],
      unknown: [],
    });
    expect(matchKinds(['house-brand'], ['house-brand'])).toMatchObject({ isMet: true, unknown: [] });
    expect(matchKinds(['ADA_24'], ['ADA_24']).isMet).toBe(true);
  });

  it('leave out what they exclude', () => {
    expect(matchKinds(['AMPERE_24', '-NVIDIA L4'], ['NVIDIA L4'])).toMatchObject({ isMet: false, wanted: ['AMPERE_24'] });
    expect(matchKinds(['AMPERE_24', '-NVIDIA L4'], ['NVIDIA L4', 'NVIDIA RTX A5000']).isMet).toBe(true);
    expect([matchKinds(['-L4'], ['NVIDIA L4']).isMet, matchKinds(['-L4'], []).isMet]).toEqual([false, true]);
  });

  it('that nobody knows stand for any, and for nothing beside known ones', () => {
    expect(matchKinds(['NEBULA_512'], [])).toEqual({ isMet: true, wanted: [], unknown: ['NEBULA_512'] });
    expect(matchKinds(['NEBULA_512', 'ADA_24'], ['NVIDIA L4'])).toEqual({ isMet: false, wanted: ['ADA_24'], unknown: ['NEBULA_512'] });
  });
});

describe('what keeps a release from a node', () => {
  it('is a kind of GPU that is not here, or an engine without any (row 89)', () => {
    expect(misfit({ resources: { gpu: 'HOPPER_141,ADA_24' } })).toBe(
      'it needs a GPU of HOPPER_141 or ADA_24, this node has NVIDIA L4 (WHERRY_NODE_LABELS)',
    );
    expect(misfit({ resources: { gpu: 'AMPERE_24' } })).toBeUndefined();
    expect(misfit({ resources: { gpu: 'AMPERE_16' } }, node({}), 'host')).toContain('this node has none');
    expect(misfit({ resources: { gpu: 1 } }, L4, 'absent')).toContain('the container engine has none to give');
    expect(misfit({ resources: { gpu: 1 } }, node({}), 'host')).toBeUndefined();
  });

  it.each([
    ['12.4', undefined],
    ['11.8', undefined],
    ['12.10', 'it needs CUDA 12.10 or newer, this node has 12.4 (WHERRY_NODE_LABELS)'],
    ['13.0', 'it needs CUDA 13.0 or newer, this node has 12.4 (WHERRY_NODE_LABELS)'],
    [['12.3', '12.4'], undefined],
    [['12.3', '12.5'], 'it needs CUDA 12.3 or 12.5, this node has 12.4 (WHERRY_NODE_LABELS)'],
  ])('is CUDA when it needs %j: %s (row 91)', (cuda, why) => {
    expect(misfit({ placement: { cuda } })).toBe(why);
  });

  it('is a label that it has not, or has otherwise (row 91)', () => {
    const home = node({ zone: ['home', 'upstairs'] });
    expect(misfit({ placement: { labels: { zone: 'upstairs' } } }, home)).toBeUndefined();
    expect(misfit({ placement: { labels: { zone: 'far' } } }, home)).toContain(
      'needs a node with zone=far, this one has zone=home, upstairs',
    );
    expect(misfit({ placement: { labels: { disk: 'fast' } } }, home)).toContain('this one has no disk');
    expect(misfit({ placement: { cuda: '12.0' } }, home)).toContain('this node has none');
  });

  it('is no GPU and no CUDA where they are ignored, which the author is told (row 89)', () => {
    const wishes = { resources: { gpu: 'HOPPER_141' }, placement: { cuda: '13.0' } };
    expect(misfit(wishes, node({}, true), 'absent')).toBeUndefined();
    expect(resourcesOn(node({}, true), { cpu: 1, gpu: 2 })).toEqual({ cpu: 1 });
    expect(noticePlacement(wishes, node({}, true), 'engine')).toEqual([
      'it asks for a GPU, which this node ignores (WHERRY_GPU): workers run without',
    ]);
  });
});

test('a process that asks for a GPU is told only where there is none to give (row 89)', () => {
  const wishes = { resources: { gpu: 1 } };
  expect(noticePlacement(wishes, { ...L4, gpus: [{ id: 'GPU-1' }] }, 'host')).toEqual([]);
  expect(noticePlacement(wishes, L4, 'host')).toEqual([expect.stringContaining('no GPU to give')]);
});

test('a release without wishes has no notices and fits everywhere', () => {
  for (const grant of ['engine', 'host', 'absent'] as const) {
    expect(noticePlacement({ resources: { gpu: 0 } }, node({}), grant)).toEqual([]);
    expect(misfit({}, node({}), grant)).toBeUndefined();
  }
  expect([countGpus(undefined), countGpus(2), countGpus('ADA_24,AMPERE_24'), countGpus('-L4')]).toEqual([0, 2, 1, 0]);
});
