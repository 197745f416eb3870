import { progressUpdate, registerFitnessCheck, start } from './worker.mjs';

export { progressUpdate, progressUpdate as progress_update, registerFitnessCheck, registerFitnessCheck as register_fitness_check, start };
/** RunPod's spelling. */
export const serverless = { start, progress_update: progressUpdate, register_fitness_check: registerFitnessCheck };
