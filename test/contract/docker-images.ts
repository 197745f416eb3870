import { createReadStream, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { silentLog } from '../../src/base/log.js';
import { MEDIA_TYPES } from '../../src/oci/descriptor.js';
import { digestOf } from '../../src/oci/digest.js';
import { type ImageConfig, LABELS } from '../../src/oci/manifest.js';
import { openBlobs } from '../../src/registry/blobs.js';
import { createRegistryHandler } from '../../src/registry/handler.js';
import { createImages } from '../../src/registry/retain.js';
import type { ImageSource, WorkerSpec } from '../../src/runtime/runtime.js';
import { packNodeBase } from '../node-base.js';
import { listen } from './registry-server.js';

export type Settings = NonNullable<ImageConfig['config']> & { readonly Volumes?: Readonly<Record<string, object>> };

/** Our registry with images whose handler is a script; it opens to one pull-only credential. */
export interface ImageHouse {
  /** Host and port. */
  readonly registry: string;
  readonly source: ImageSource;
  readonly credentials: { readonly username: string; readonly password: string };
  /** How often a manifest or blob was sent. */
  readonly sent: readonly string[];
  image(script: string, settings?: Settings): WorkerSpec['image'];
  close(): Promise<void>;
}

const REPOSITORY = 'test/worker';

export async function openImageHouse(): Promise<ImageHouse> {
  const dir = mkdtempSync(join(tmpdir(), 'wherry-house-'));
  const file = join(dir, 'base.tar');
  packNodeBase(file);
  const base = digestOf(readFileSync(file));
  const blobs = await openBlobs(join(dir, 'registry'));
  const baseSize = await blobs.put(base, createReadStream(file));
  await blobs.linkBlob(REPOSITORY, base);
  const handle = createRegistryHandler({ blobs, log: silentLog, isRepositoryAllowed: () => true });
  const credentials = { username: 'wherry', password: 'only-for-pulls' };
  const wanted = `Basic ${Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64')}`;
  const sent: string[] = [];
  const server = await listen((request, response) => {
    if (request.headers.authorization === wanted) {
      sent.push(request.url ?? '');
      void handle(request, response, { canPush: false });
      return;
    }
    response.writeHead(401, { 'www-authenticate': 'Basic realm="wherry"' });
    response.end();
  });
  /** Images are named before they are stored; whoever reads one waits for it. */
  const stored = new Map<string, Promise<unknown>>();
  const store = async (config: Buffer, manifest: Buffer) => {
    await blobs.put(digestOf(config), Readable.from([config]));
    await blobs.linkBlob(REPOSITORY, digestOf(config));
    await blobs.putManifest(REPOSITORY, digestOf(manifest), manifest, { mediaType: MEDIA_TYPES.manifest });
  };
  const images = createImages({
    blobs,
    log: silentLog,
    ownHosts: () => [],
    clientFor: async () => {
      throw new Error('no other registry');
    },
  });
  return {
    registry: server.host,
    credentials,
    sent,
    source: {
      async config(image) {
        await stored.get(image.digest);
        return images.config({ ...image, reference: image.repository, tag: null });
      },
      layers: async () => [],
    },
    image(script, settings = {}) {
      // The name behind the script takes the place of a file's in the arguments.
      const entrypoint = ['node', '--input-type=module', '-e', script, 'handler.mjs'];
      const config = Buffer.from(
        JSON.stringify({
          architecture: 'amd64',
          os: 'linux',
          rootfs: { type: 'layers', diff_ids: [base] },
          config: { Entrypoint: entrypoint, Env: ['PATH=/usr/bin:/bin'], Labels: { [LABELS.handler]: 'handler.mjs' }, ...settings },
        }),
      );
      const manifest = Buffer.from(
        JSON.stringify({
          schemaVersion: 2,
          mediaType: MEDIA_TYPES.manifest,
          config: { mediaType: MEDIA_TYPES.config, digest: digestOf(config), size: config.length },
          layers: [{ mediaType: MEDIA_TYPES.layerTar, digest: base, size: baseSize }],
        }),
      );
      const digest = digestOf(manifest);
      if (!stored.has(digest)) stored.set(digest, store(config, manifest));
      return { repository: REPOSITORY, digest };
    },
    async close() {
      await Promise.all(stored.values());
      await server.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
