/** The GPUs that RunPod's clients name: pool, full name, GiB of memory. */
const GPUS = [
  ['AMPERE_16', 'NVIDIA RTX A4000', 16],
  ['AMPERE_16', 'NVIDIA RTX A4500', 20],
  ['AMPERE_16', 'NVIDIA RTX 4000 Ada Generation', 20],
  ['AMPERE_16', 'NVIDIA RTX 2000 Ada Generation', 16],
  ['AMPERE_24', 'NVIDIA L4', 24],
  ['AMPERE_24', 'NVIDIA RTX A5000', 24],
  ['AMPERE_24', 'NVIDIA GeForce RTX 3090', 24],
  ['ADA_24', 'NVIDIA GeForce RTX 4090', 24],
  ['AMPERE_48', 'NVIDIA RTX A6000', 48],
  ['AMPERE_48', 'NVIDIA A40', 48],
  ['ADA_48_PRO', 'NVIDIA L40', 48],
  ['ADA_48_PRO', 'NVIDIA L40S', 48],
  ['ADA_48_PRO', 'NVIDIA RTX 6000 Ada Generation', 48],
  ['AMPERE_80', 'NVIDIA A100 80GB PCIe', 80],
  ['AMPERE_80', 'NVIDIA A100-SXM4-80GB', 80],
  ['ADA_80_PRO', 'NVIDIA H100 PCIe', 80],
  ['ADA_80_PRO', 'NVIDIA H100 80GB HBM3', 80],
  ['HOPPER_141', 'NVIDIA H200', 141],
] as const;

/** Queries about what could be had: names that clients look up. What this host has is another matter (`wherry doctor`). */
export function createCatalogOperations() {
  return {
    gpuTypes: ({ input }: { input?: { id?: string | null; ids?: readonly string[] | null } | null }) => {
      const wanted = [...(input?.ids ?? []), ...(input?.id ? [input.id] : [])];
      return GPUS.filter(([, name]) => wanted.length === 0 || wanted.includes(name)).map(viewGpu);
    },
    serverlessGpuPools: () =>
      [...new Set(GPUS.map(([pool]) => pool))].map((id) => ({
        id,
        gpuTypeIds: GPUS.filter(([pool]) => pool === id).map(([, name]) => name),
      })),
    dataCenters: () => [{ id: 'local', name: 'this host', location: '', gpuAvailability: [] }],
  };
}

function viewGpu([, name, memoryInGb]: (typeof GPUS)[number]) {
  const displayName = name.replace(/^NVIDIA (?:GeForce )?/, '');
  return { id: name, displayName, memoryInGb, manufacturer: 'Nvidia', secureCloud: true, communityCloud: false, lowestPrice: null };
}
