import { GPU_POOLS, type Gpu } from '../../../domain/gpu.js';

/** Queries about what could be had: names that clients look up. What this host has is another matter (`wherry doctor`). */
export function createCatalogOperations() {
  return {
    gpuTypes: ({ input }: { input?: { id?: string | null; ids?: readonly string[] | null } | null }) => {
      const wanted = [...(input?.ids ?? []), ...(input?.id ? [input.id] : [])];
      return GPU_POOLS.flatMap(({ gpus }) => gpus)
        .filter(({ name }) => wanted.length === 0 || wanted.includes(name))
        .map(viewGpu);
    },
    serverlessGpuPools: () => GPU_POOLS.map(({ id, gpus }) => ({ id, gpuTypeIds: gpus.map(({ name }) => name) })),
    dataCenters: () => [{ id: 'local', name: 'this host', location: '', gpuAvailability: [] }],
  };
}

function viewGpu({ name, memoryGib }: Gpu) {
  const displayName = name.replace(/^NVIDIA (?:GeForce )?/, '');
  return {
    id: name,
    displayName,
    memoryInGb: memoryGib,
    manufacturer: 'Nvidia',
    secureCloud: true,
    communityCloud: false,
    lowestPrice: null,
  };
}
