import { expect, it } from 'vitest';
import { GPU_POOLS, matchKinds } from './gpu.js';

it('each GPU that is known by its full name is of its pool and of no other', () => {
  for (const { id, gpus } of GPU_POOLS)
    for (const { name } of gpus)
      expect(GPU_POOLS.filter((pool) => matchKinds([pool.id], [name]).isMet).map((pool) => pool.id)).toEqual([id]);
});
