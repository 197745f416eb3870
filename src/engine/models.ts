import type { Core, ModelStarts, WantedModels } from './core.js';
import { recordNote } from './worker-note.js';

/** The variable by which programs, too, give a token to the hub. */
const TOKEN = 'HF_TOKEN';

export function createModelStarts(core: Core): ModelStarts {
  const waits = new Map<string, { readonly endpointId: string; readonly leaving: AbortController }>();
  const broughtAt = new Map<string, number>();
  return {
    async bring({ id, endpointId }, { models, env }) {
      if (models.length === 0) return [];
      const leaving = new AbortController();
      waits.set(id, { endpointId, leaving });
      broughtAt.set(id, Number.POSITIVE_INFINITY);
      const left = new Promise<undefined>((resolve) => leaving.signal.addEventListener('abort', () => resolve(undefined), { once: true }));
      const fetched = core.modelCache.fetch(models, {
        token: env[TOKEN],
        onProgress: (text) => void recordNote(core, id, text),
        signal: leaving.signal,
      });
      // What becomes of one that was given up is nobody's concern.
      fetched.catch(() => {});
      try {
        const prepared = await Promise.race([fetched, left]);
        broughtAt.set(id, core.clock.now());
        return prepared?.folders.map((folder) => ({ folder, cacheDir: prepared.cacheDir }));
      } finally {
        waits.delete(id);
      }
    },
    giveUp(of) {
      for (const [workerId, { endpointId, leaving }] of waits)
        if ('workerId' in of ? of.workerId === workerId : of.endpointId === endpointId) leaving.abort();
    },
    broughtAt: (workerId) => broughtAt.get(workerId),
    forget: (workerId) => void broughtAt.delete(workerId),
  };
}

/** Models with the commits that their revisions name now, so that a release always has the same bytes. Throws as {@link ModelStarts.bring} does. */
export async function resolveModels({ modelCache }: Pick<Core, 'modelCache'>, { models, env }: WantedModels): Promise<readonly string[]> {
  const resolved: string[] = [];
  for (const model of models) resolved.push(await modelCache.resolve(model, env[TOKEN]));
  return resolved;
}
