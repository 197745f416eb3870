import { start } from './worker.mjs';

export { start };
/** RunPod's spelling. */
export const serverless = { start };
