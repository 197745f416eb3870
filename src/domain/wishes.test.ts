import { describe, expect, it } from 'vitest';
import { grantWishes, NO_WISHES, type WishedHost } from './wishes.js';

const GIB = 2 ** 30;
const BARE: WishedHost = { total: { cpu: 2, memoryBytes: 4 * GIB, gpu: 0 }, labels: {} };
const GPUS: WishedHost = { total: { cpu: 8, memoryBytes: 32 * GIB, gpu: 2 }, labels: { gpu: ['RTX 4090'], cuda: ['12.4'] } };

describe('what a host grants of the wishes of an endpoint', () => {
  it.each([
    [{ count: 1, kinds: ['ADA_24', '-NVIDIA L4'] }, 'ADA_24,-NVIDIA L4', []],
    [{ count: 2, kinds: ['ADA_24'] }, 2, []],
    [{ count: 1, kinds: ['AMPERE_16'] }, 1, ['this host has no GPU of AMPERE_16: a worker gets any of its GPUs']],
    [{ count: 3, kinds: ['ADA_24'] }, undefined, ["the server has 2 GPUs: what asks for 3 of 'ADA_24' runs without"]],
  ])('is of its GPUs, for %j, %j', (gpu, given, notices) => {
    expect(grantWishes({ resources: { cpu: 1 } }, { gpu }, GPUS)).toEqual({
      change: { resources: { cpu: 1, ...(given !== undefined && { gpu: given }) } },
      notices,
    });
  });

  it('is what its template says where nothing is wished', () => {
    expect(grantWishes({ resources: { gpu: 'ADA_24' } }, NO_WISHES, BARE)).toEqual({
      change: { resources: { gpu: 'ADA_24' } },
      notices: [],
    });
  });

  it('is the first size that it has room for, or none', () => {
    const sizes = [
      { cpu: 32, memoryBytes: 64 * GIB },
      { cpu: 4, memoryBytes: 16 * GIB },
    ];
    expect(grantWishes({}, { ...NO_WISHES, sizes }, GPUS)).toEqual({ change: { resources: sizes[1] }, notices: [] });
    const { change, notices } = grantWishes({}, { ...NO_WISHES, sizes }, BARE);
    expect([change, notices.join()]).toEqual([
      { resources: {} },
      expect.stringMatching(/has 2 cores and 4 GiB, .* 4 cores and 16 GiB: it runs/),
    ]);
  });

  it('is a version of CUDA that it has', () => {
    const placement = { labels: { zone: 'home' } };
    const granted = grantWishes({ placement }, { ...NO_WISHES, cuda: '12.1' }, GPUS);
    expect(granted).toEqual({ change: { resources: {}, placement: { ...placement, cuda: '12.1' } }, notices: [] });
    expect(grantWishes({}, { ...NO_WISHES, cuda: ['13.0'] }, GPUS)).toEqual({
      change: { resources: {} },
      notices: ['it needs CUDA 13.0, this node has 12.4 (WHERRY_NODE_LABELS): it runs all the same'],
    });
  });

  it('is models and volumes beside those of the template, and one volume for a path', () => {
    const before = { models: ['acme/a'], volumes: ['mine:/runpod-volume', 'other:/data'] };
    const { change } = grantWishes(before, { ...NO_WISHES, models: ['acme/a', 'acme/b'], volumes: ['v1:/runpod-volume'] }, BARE);
    expect(change).toEqual({ resources: {}, models: ['acme/a', 'acme/b'], volumes: ['other:/data', 'v1:/runpod-volume'] });
  });
});
