import { WherryError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { Digest } from '../../oci/digest.js';
import { type ImageConfig, LABELS } from '../../oci/manifest.js';
import type { ImageName, ImageSource } from '../runtime.js';
import type { Engine } from './engine.js';
import { type EngineApi, engineFailed } from './engine-api.js';
import { digitsOfMark, imageReferenceOf } from './names.js';
import { measureImage, type PullCredentials, pullImage } from './pull.js';

export interface ImageStoreOptions {
  /** Throws RUNTIME_UNAVAILABLE while the engine is away. */
  readonly engine: () => Engine;
  readonly images: ImageSource;
  readonly instanceId: string;
  readonly registry: () => string;
  readonly pullCredentials: () => PullCredentials;
  /** Ends pulls. */
  readonly stopping?: AbortSignal;
  readonly log: Log;
  readonly now: () => number;
}

export type Settings = NonNullable<ImageConfig['config']>;

/** The images that the engine has from this server. */
export interface ImageStore {
  /** Throws RUNTIME_REFUSED for an image that holds nothing to run it with. */
  accept(image: ImageName): Promise<Settings>;
  referenceOf(image: ImageName): string;
  /** Pulls it, unless it is there. */
  prepare(image: ImageName, onProgress: (text: string) => void): Promise<void>;
  /** Gives the bytes that were fetched. Those who ask for one image at once share one pull. */
  pull(image: ImageName, onProgress: (text: string) => void): Promise<number>;
  /** Removes what this server pulled, except these, what was pulled just now and what containers use. */
  forget(except: ReadonlySet<Digest>): Promise<void>;
}

interface Pull {
  readonly done: Promise<number>;
  readonly listeners: Set<(text: string) => void>;
}

/** A deploy pulls before there is a release that needs the image. */
const FRESH_MS = 10 * 60_000;

export function createImageStore(options: ImageStoreOptions): ImageStore {
  const { engine, images, instanceId, registry, pullCredentials, stopping, log, now } = options;
  const configs = new Map<Digest, Settings>();
  const pulls = new Map<Digest, Pull>();
  const preparedAt = new Map<Digest, number>();
  const begin = (image: ImageName): Pull => {
    const listeners = new Set<(text: string) => void>();
    const onProgress = (text: string) => {
      for (const listener of listeners) listener(text);
    };
    const done = pullImage(
      {
        engine: engine(),
        instanceId,
        registry: registry(),
        credentials: pullCredentials(),
        onProgress,
        now,
        ...(stopping && { signal: stopping }),
      },
      image,
    ).finally(() => {
      pulls.delete(image.digest);
      preparedAt.set(image.digest, now());
    });
    const pull = { done, listeners };
    pulls.set(image.digest, pull);
    return pull;
  };
  const pull: ImageStore['pull'] = (image, onProgress) => {
    const shared = pulls.get(image.digest) ?? begin(image);
    shared.listeners.add(onProgress);
    return shared.done;
  };
  return {
    async accept(image) {
      const known = configs.get(image.digest);
      if (known !== undefined) return known;
      const { config = {} } = await images.config(image);
      if (config.Labels?.[LABELS.base] === 'scratch') throw withoutBase(image);
      configs.set(image.digest, config);
      return config;
    },
    referenceOf: (image) => imageReferenceOf(registry(), image),
    async prepare(image, onProgress) {
      preparedAt.set(image.digest, now());
      if ((await measureImage({ engine: engine(), registry: registry() }, image)) !== undefined) return;
      await pull(image, (text) => {
        log.info({ image: `${image.repository}@${image.digest}` }, text);
        onProgress(text);
      });
    },
    pull,
    async forget(except) {
      const isKept = (digits: string) =>
        [...except, ...pulls.keys(), ...fresh(preparedAt, now())].some((digest) => digest.slice('sha256:'.length).startsWith(digits));
      for (const digest of configs.keys()) if (!except.has(digest)) configs.delete(digest);
      for (const { reference, digits } of await listMarked(engine().api, instanceId)) {
        if (isKept(digits)) continue;
        const { status } = await engine().api.call({ method: 'DELETE', path: `/images/${reference}` });
        log.debug({ reference, status }, status === 200 ? 'removed an image from the engine' : 'an image stays in the engine');
      }
    },
  };
}

function fresh(preparedAt: Map<Digest, number>, now: number): readonly Digest[] {
  for (const [digest, at] of preparedAt) if (now - at > FRESH_MS) preparedAt.delete(digest);
  return [...preparedAt.keys()];
}

async function listMarked(api: EngineApi, instanceId: string): Promise<readonly { readonly reference: string; readonly digits: string }[]> {
  const answer = await api.call({ method: 'GET', path: '/images/json' });
  if (answer.status !== 200) throw engineFailed('the list of images', answer);
  const references = (answer.body as readonly { readonly RepoTags?: readonly string[] | null }[]).flatMap(({ RepoTags }) => RepoTags ?? []);
  return references.flatMap((reference) => {
    const digits = digitsOfMark(instanceId, reference);
    return digits === undefined ? [] : [{ reference, digits }];
  });
}

function withoutBase({ repository, digest }: ImageName): WherryError {
  return new WherryError(
    'RUNTIME_REFUSED',
    `image '${repository}@${digest}' refused by the docker runtime: it has no base, and so no interpreter`,
    {
      hint: 'give the project a base image, or let the process runtime run it',
    },
  );
}
