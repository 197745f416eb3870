import { existsSync, readdirSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCodeOf, WherryError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { Digest } from '../../oci/digest.js';
import { APP_ROOT, type ImageConfig, LABELS } from '../../oci/manifest.js';
import { unpackTar } from '../../oci/tar.js';
import type { ImageSource } from '../runtime.js';
import { resolveInterpreter } from './interpreter.js';

/** An image that is ready to run: everything a start needs, in memory. */
export interface PreparedImage {
  readonly config: NonNullable<ImageConfig['config']>;
  /** The folder that holds the image's `/wherry`. */
  readonly root: string;
  readonly interpreter: string;
  readonly kind: 'node' | 'python';
  /** Names below `/wherry/app`. */
  readonly appEntries: readonly string[];
}

export interface RootOptions {
  readonly dataDir: string;
  readonly images: ImageSource;
  readonly searchPath: string;
  readonly log: Log;
}

type ImageName = { readonly repository: string; readonly digest: Digest };

/** Unpacks the image's application layers once and finds its interpreter. Throws RUNTIME_REFUSED for an image that wherry did not build for a handler. */
export async function prepareImage(image: ImageName, options: RootOptions, interpreterFor = resolveInterpreter): Promise<PreparedImage> {
  const { config } = await options.images.config(image);
  const labels = readLabels(image, config?.Labels ?? {});
  const interpreter = await interpreterFor(labels.interpreter, options);
  const root = join(options.dataDir, 'roots', image.digest.slice('sha256:'.length));
  if (!existsSync(root)) await unpackRoot(image, root, labels.layers, options);
  return {
    config: config ?? {},
    root,
    interpreter,
    kind: labels.interpreter.startsWith('node') ? 'node' : 'python',
    appEntries: readdirSync(join(root, APP_ROOT, 'app')),
  };
}

function readLabels({ repository, digest }: ImageName, labels: Readonly<Record<string, string>>) {
  const refuse = (why: string): WherryError =>
    new WherryError('RUNTIME_REFUSED', `image '${repository}@${digest}' refused by the process runtime: ${why}`, {
      hint: 'the docker runtime can run it; the process runtime runs only images that `wherry build` made for a handler',
    });
  const interpreter = labels[LABELS.interpreter];
  if (interpreter === undefined) throw refuse(`it has no label ${LABELS.interpreter}`);
  if (labels[LABELS.handler] === undefined) throw refuse(`it has no label ${LABELS.handler}`);
  const layers = parseList(labels[LABELS.layers]);
  if (layers === undefined) throw refuse(`its label ${LABELS.layers} is absent or not a list of diffIDs`);
  return { interpreter, layers };
}

function parseList(text: string | undefined): readonly string[] | undefined {
  try {
    const value: unknown = JSON.parse(text ?? '');
    return Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === 'string') ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Atomic: the root appears complete under its name, or not at all. */
async function unpackRoot(image: ImageName, root: string, wanted: readonly string[], { dataDir, images }: RootOptions): Promise<void> {
  const roots = join(dataDir, 'roots');
  await mkdir(roots, { recursive: true, mode: 0o700 });
  const draft = await mkdtemp(join(roots, '.draft-'));
  try {
    const layers = new Map((await images.layers(image)).map((layer) => [layer.diffId, layer]));
    for (const diffId of wanted) {
      const layer = layers.get(diffId);
      if (layer === undefined) {
        throw new WherryError(
          'RUNTIME_REFUSED',
          `image '${image.repository}@${image.digest}' refused: its application layer '${diffId}' is not in it`,
          {
            hint: 'build the image again, or use the docker runtime',
          },
        );
      }
      await unpackTar(layer.open(), draft);
    }
    for (const name of await readdir(draft)) if (`/${name}` !== APP_ROOT) await rm(join(draft, name), { recursive: true, force: true });
    await mkdir(join(draft, APP_ROOT, 'app'), { recursive: true });
    await rename(draft, root);
  } catch (cause) {
    await rm(draft, { recursive: true, force: true });
    // Another server process was quicker; its root is as good.
    if (systemCodeOf(cause) === 'ENOTEMPTY' || systemCodeOf(cause) === 'EEXIST') return;
    throw cause;
  }
}
