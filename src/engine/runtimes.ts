import { messageOf, WherryError } from '../base/errors.js';
import type { Endpoint } from '../domain/endpoint.js';
import type { ReleaseSpec } from '../domain/release.js';
import type { ImageName, Runtime } from '../runtime/runtime.js';

/** The runtimes of this server: by name for workers that run, by image for those that shall. */
export interface Runtimes {
  /** In the order in which `auto` tries them. */
  readonly all: readonly Runtime[];
  /** The one that has a worker. Throws RUNTIME_UNAVAILABLE when this server has no such runtime. */
  named(name: string): Runtime;
  /** The endpoint's own choice, else the first that takes the image and can hold what the release wants. Throws RUNTIME_REFUSED, RUNTIME_UNAVAILABLE. */
  choose(endpoint: Pick<Endpoint, 'settings'>, image: ImageName, spec: Pick<ReleaseSpec, 'isHardened'>): Promise<Runtime>;
}

export function createRuntimes(all: readonly Runtime[]): Runtimes {
  /** What `auto` found before: an image does not change. */
  const found = new Map<string, Runtime>();
  const named = (name: string) => {
    const runtime = all.find((each) => each.name === name);
    if (runtime) return runtime;
    throw new WherryError('RUNTIME_UNAVAILABLE', `this server has no runtime '${name}'`, {
      hint: `it has ${all.map((each) => each.name).join(', ')}; \`wherry doctor\` says what the others need`,
    });
  };
  const find = async (image: ImageName, spec: Pick<ReleaseSpec, 'isHardened'>) => {
    const refusals: WherryError[] = [];
    for (const runtime of all) {
      try {
        checkHardening(runtime, spec);
        await runtime.accept(image);
        return runtime;
      } catch (thrown) {
        if (!(thrown instanceof WherryError && thrown.code === 'RUNTIME_REFUSED')) throw thrown;
        refusals.push(thrown);
      }
    }
    const [first] = refusals;
    if (refusals.length === 1 && first) throw first;
    throw new WherryError('RUNTIME_REFUSED', `no runtime of this server can run the image: ${refusals.map(messageOf).join('; ')}`, {
      ...(first?.hint !== undefined && { hint: first.hint }),
    });
  };
  return {
    all,
    named,
    async choose({ settings }, image, spec) {
      const { runtime: choice = 'auto' } = settings;
      if (choice !== 'auto') {
        const runtime = named(choice);
        checkHardening(runtime, spec);
        return runtime;
      }
      const key = `${image.digest} ${spec.isHardened ?? false}`;
      const known = found.get(key) ?? (await find(image, spec));
      found.set(key, known);
      return known;
    },
  };
}

/** A release that asks to be kept in is not run where nothing can keep it. Throws RUNTIME_REFUSED. */
function checkHardening({ name, capabilities }: Runtime, { isHardened = false }: Pick<ReleaseSpec, 'isHardened'>): void {
  if (!isHardened || capabilities.hardening) return;
  throw new WherryError('RUNTIME_REFUSED', `the ${name} runtime cannot harden workers`, {
    hint: 'use the docker runtime, or take hardened out of wherry.yaml',
  });
}
