import { join } from 'node:path';
import { messageOf } from '../base/errors.js';
import type { BuiltImage, PlatformImage } from '../build/built-image.js';
import { readKnownPackages } from '../image/known-packages.js';
import { makeSbom } from '../image/sbom.js';
import { openLayout } from '../oci/layout.js';
import type { Context } from './command.js';
import { attachSbom, hasSbom } from './image-sbom.js';
import { type OpenRepository, openBuiltImage, openRepository } from './image-source.js';
import { openKeptTexts } from './kept-texts.js';
import type { Motion } from './motion.js';
import { layoutDirOf } from './project-image.js';
import { targetOf } from './project-push.js';

/** The lists of the software in a built image, in the making while the image is pushed. */
export interface Sboms {
  /** Attaches them to the image, which must be in its repository. What fails is a warning, unless the lists were asked for. */
  attach(): Promise<void>;
  /** Nothing is made or sent any more. */
  close(): Promise<void>;
}

export interface SbomPhase {
  readonly to: string | undefined;
  readonly motion: Motion;
}

/** Begins to make the list of each platform's image, whose packages differ; an image that has one in its repository gets no other. */
export function startSboms(context: Context, built: BuiltImage, { to, motion: { phases, place } }: SbomPhase): Sboms {
  const stopped = new AbortController();
  const signal = AbortSignal.any([context.signal, stopped.signal]);
  const repository = openRepository(targetOf(built, to).reference, { ...context, signal });
  const made = Promise.all(built.images.map(async (image) => ({ image, text: await make(image) })));
  // What fails is told when it is asked for.
  made.catch(() => {});

  async function make(image: PlatformImage): Promise<string | undefined> {
    const { digest } = image.descriptor;
    // A registry that does not answer for a repository that is not there yet shows no list either.
    if (await hasSbom(await repository, digest).catch(() => false)) return undefined;
    const source = await openBuiltImage(await openLayout(layoutDirOf(place.dataDir)), image);
    const memory = openKeptTexts(join(place.dataDir, 'cache', 'packages'));
    return makeSbom(source, await readKnownPackages(source, { memory, signal }), context.version);
  }

  async function attachAll(): Promise<number> {
    const lists = (await made).flatMap(({ image, text }) => (text === undefined ? [] : [{ image, text }]));
    for (const { image, text } of lists) await attachSbom(await repository, image.descriptor, text);
    return lists.length;
  }

  return {
    async attach() {
      try {
        await phases.run('sbom', attachAll, (count) => (count === 0 ? 'the image has one' : 'attached'));
      } catch (thrown) {
        if (context.options['sbom'] === true || context.signal.aborted) throw thrown;
        context.output.warn(`the list of the image's software could not be attached: ${messageOf(thrown)}`);
      }
    },
    async close() {
      stopped.abort();
      await repository.then(closeRepository, () => {});
    },
  };
}

function closeRepository({ client }: OpenRepository): Promise<void> {
  return client.close();
}
