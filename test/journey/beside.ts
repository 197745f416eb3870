import { openStage, type Stage } from '../stage.js';

/** A server, and another one whose registry it may read. */
export async function openStages(): Promise<{ readonly stage: Stage; readonly remote: Stage; close(): Promise<void> }> {
  const remote = await openStage();
  const auth = Buffer.from(`anyone:${remote.key}`).toString('base64');
  const config = JSON.stringify({ auths: { [new URL(remote.url).host]: { auth } } });
  const stage = await openStage({ DOCKER_CONFIG: remote.project('login', { 'config.json': config }) });
  return { stage, remote, close: async () => void (await Promise.all([stage.close(), remote.close()])) };
}
