import { hash } from 'node:crypto';
import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { lstat, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { systemCodeOf, WherryError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import { type Digest, isDigest } from '../../oci/digest.js';
import { syncDirectory } from '../../oci/durable-file.js';
import { APP_ROOT, type ImageConfig, LABELS } from '../../oci/manifest.js';
import { unpackLayers } from '../../oci/unpack.js';
import type { ImageName, ImageSource } from '../runtime.js';
import { resolveInterpreter } from './interpreter.js';
import { findChange, readSeal, type Seal, sealTree } from './seal.js';

/** An image that is ready to run: everything a start needs, in memory. */
export interface PreparedImage {
  readonly config: NonNullable<ImageConfig['config']>;
  /** The folder that holds the image's `/wherry`. */
  readonly root: string;
  readonly interpreter: string;
  readonly kind: 'node' | 'python';
  /** What the root must be; see {@link findChange}. */
  readonly seal: Seal;
  /** Names the seal: another after each unpacking. */
  readonly sealId: string;
  /** What unpacking wrote; 0 when it was there. */
  readonly unpackedBytes: number;
}

export interface RootOptions {
  readonly dataDir: string;
  readonly images: ImageSource;
  readonly searchPath: string;
  readonly log: Log;
}

const DRAFT = '.draft-';

/** What a start of an image's worker needs beside its files. Throws RUNTIME_REFUSED for an image that wherry did not build for a handler. */
export async function acceptImage(image: ImageName, options: RootOptions, interpreterFor = resolveInterpreter) {
  const { config } = await options.images.config(image);
  const labels = readLabels(image, config?.Labels ?? {});
  return { config: config ?? {}, labels, interpreter: await interpreterFor(labels.interpreter, options) };
}

/**
 * Finds the image's interpreter and unpacks its application layers, once: a root that is there is used when it is what its seal
 * says, and unpacked anew when something changed it. Throws as {@link acceptImage} does.
 */
export async function prepareImage(image: ImageName, options: RootOptions, interpreterFor = resolveInterpreter): Promise<PreparedImage> {
  const { config, labels, interpreter } = await acceptImage(image, options, interpreterFor);
  const root = rootOf(options.dataDir, image.digest);
  const sound = await findSound(root, options.log);
  const seal = sound ?? (await unpackRoot(image, root, labels.layers, options));
  return {
    config,
    root,
    interpreter,
    kind: labels.interpreter.startsWith('node') ? 'node' : 'python',
    seal,
    sealId: hash('sha256', JSON.stringify(seal), 'hex'),
    unpackedBytes: sound ? 0 : seal.reduce((sum, { size }) => sum + size, 0),
  };
}

/** Where an image is unpacked. */
export function rootOf(dataDir: string, digest: Digest): string {
  return join(dataDir, 'roots', digest.slice('sha256:'.length));
}

/**
 * Where interpreters keep what they compiled of an image: beside its root, which is read-only, so that the next start loads it quickly.
 * Apart for each unpacking: a process that runs on may still write what it compiled of a file that somebody had changed.
 */
export function compiledOf(dataDir: string, digest: Digest, sealId: string): string {
  return join(compiledDir(dataDir), digest.slice('sha256:'.length), sealId.slice(0, 16));
}

function compiledDir(dataDir: string): string {
  return join(dataDir, 'cache', 'compiled');
}

/** Removes the unpacked roots of other images, and what was compiled of them. */
export async function removeRoots(dataDir: string, except: ReadonlySet<Digest>): Promise<void> {
  for (const dir of [join(dataDir, 'roots'), compiledDir(dataDir)]) {
    for (const name of existsSync(dir) ? await readdir(dir) : []) {
      const digest = `sha256:${name}`;
      if (isDigest(digest) && !except.has(digest)) await removeTree(join(dir, name));
    }
  }
}

/** Also one that processes write to. */
function removeTree(path: string): Promise<void> {
  return rm(path, { recursive: true, force: true, maxRetries: 5 });
}

/** Removes what a crash left of roots that were being unpacked; before the first is. */
export function removeDrafts(dataDir: string): void {
  const roots = join(dataDir, 'roots');
  for (const name of existsSync(roots) ? readdirSync(roots) : []) {
    if (name.startsWith(DRAFT)) rmSync(join(roots, name), { recursive: true, force: true });
  }
}

/** The seal of a root that is as it was unpacked; else undefined. */
async function findSound(root: string, log: Log): Promise<Seal | undefined> {
  const seal = await readSeal(root);
  const changed = seal && findChange(root, seal);
  if (changed !== undefined) log.warn({ root, changed }, 'a worker or somebody else changed an unpacked image; it is unpacked anew');
  return changed === undefined ? seal : undefined;
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

/** The root appears complete, on disk and under its name, or not at all; one that is there gives way. */
async function unpackRoot(image: ImageName, root: string, wanted: readonly string[], { dataDir, images }: RootOptions): Promise<Seal> {
  const roots = join(dataDir, 'roots');
  await mkdir(roots, { recursive: true, mode: 0o700 });
  const draft = await mkdtemp(join(roots, DRAFT));
  const former = `${draft}-former`;
  try {
    await unpackLayers(openLayers(image, wanted, await images.layers(image)), draft);
    for (const name of await readdir(draft)) if (`/${name}` !== APP_ROOT) await rm(join(draft, name), { recursive: true, force: true });
    for (const folder of [APP_ROOT, `${APP_ROOT}/app`]) await makeFolder(image, join(draft, folder));
    const seal = await sealTree(draft, APP_ROOT.slice(1));
    if (existsSync(root)) {
      // What was compiled out of a changed root goes with it.
      await removeTree(join(compiledDir(dataDir), basename(root)));
      // Workers that run find their files by path: the new ones are there at once.
      renameSync(root, former);
    }
    renameSync(draft, root);
    await syncDirectory(roots);
    return seal;
  } finally {
    for (const left of [draft, former]) await rm(left, { recursive: true, force: true });
  }
}

function* openLayers(image: ImageName, wanted: readonly string[], all: Awaited<ReturnType<ImageSource['layers']>>) {
  const layers = new Map(all.map((layer) => [layer.diffId, layer]));
  for (const diffId of wanted) {
    const layer = layers.get(diffId);
    if (layer === undefined) throw lacksLayer(image, diffId);
    yield layer.open();
  }
}

/** Links and files in its place would make the worker's copy of it something else. */
async function makeFolder({ repository, digest }: ImageName, path: string): Promise<void> {
  await mkdir(path).catch(async (thrown: unknown) => {
    if (systemCodeOf(thrown) !== 'EEXIST') throw thrown;
    if ((await lstat(path)).isDirectory()) return;
    throw new WherryError('LAYER_INVALID', `image '${repository}@${digest}' refused: its ${APP_ROOT} or ${APP_ROOT}/app is no folder`, {
      hint: 'build the image again with `wherry build`',
      cause: thrown,
    });
  });
}

function lacksLayer({ repository, digest }: ImageName, diffId: string): WherryError {
  return new WherryError('RUNTIME_REFUSED', `image '${repository}@${digest}' refused: its application layer '${diffId}' is not in it`, {
    hint: 'build the image again, or use the docker runtime',
  });
}
