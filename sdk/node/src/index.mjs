import { progressUpdate, registerFitnessCheck, start } from './worker.mjs';

export { progressUpdate, registerFitnessCheck, start };
/** RunPod's spelling. */
export const serverless = { start, progress_update: progressUpdate, register_fitness_check: registerFitnessCheck };
