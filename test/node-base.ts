import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { silentLog } from '../src/base/log.js';
import { MEDIA_TYPES } from '../src/oci/descriptor.js';
import { digestOf } from '../src/oci/digest.js';
import { createRegistryClient } from '../src/registry/client.js';
import { pushImage } from '../src/registry/push.js';

/** Files of this machine that the base has by these names. */
const PROGRAMS: Readonly<Record<string, string>> = {
  'usr/bin/node': process.execPath,
  'bin/sh': '/bin/sh',
  'bin/sleep': '/bin/sleep',
};

/** Writes the layer of a base image: this machine's Node, a shell and `sleep`, with their libraries, and a user that is not root. */
export function packNodeBase(file: string): void {
  const root = mkdtempSync(`${file}-`);
  try {
    for (const name of ['bin', 'usr/bin', 'etc', 'tmp', 'root', 'proc', 'sys', 'dev']) mkdirSync(join(root, name), { recursive: true });
    chmodSync(join(root, 'tmp'), 0o1777);
    writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n');
    const programs = Object.entries(PROGRAMS).map(([name, source]) => [name, realpathSync(source)] as const);
    for (const [name, source] of programs) cpSync(source, join(root, name));
    for (const library of librariesOf(programs.map(([, source]) => source)))
      cpSync(realpathSync(library), join(root, library), { recursive: true });
    execFileSync('tar', ['-cf', file, '--owner=0', '--group=0', '--mtime=@0', '--sort=name', '-C', root, '.']);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

/** Makes that base and pushes it, uncompressed, to a registry of this machine. */
export async function pushNodeBase(
  dir: string,
  { host, key, repository, tag }: { host: string; key: string; repository: string; tag: string },
) {
  const file = join(dir, 'node-base.tar');
  packNodeBase(file);
  const layer = readFileSync(file);
  const config = Buffer.from(
    JSON.stringify({
      architecture: 'amd64',
      os: 'linux',
      rootfs: { type: 'layers', diff_ids: [digestOf(layer)] },
      config: { Env: ['PATH=/usr/bin:/bin', `NODE_VERSION=${process.versions.node}`], Cmd: ['node'] },
    }),
  );
  const describe = (mediaType: string, bytes: Buffer) => ({ mediaType, digest: digestOf(bytes), size: bytes.length });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.manifest,
      config: describe(MEDIA_TYPES.config, config),
      layers: [describe(MEDIA_TYPES.layerTar, layer)],
    }),
  );
  const client = createRegistryClient({ registry: host, log: silentLog, credentials: { username: 'anyone', password: key } });
  try {
    await pushImage({
      client,
      repository,
      tags: [tag],
      manifest: { bytes: manifest, digest: digestOf(manifest), mediaType: MEDIA_TYPES.manifest },
      blobs: [config, layer].map((bytes) => ({
        digest: digestOf(bytes),
        size: bytes.length,
        open: async function* open() {
          yield bytes;
        },
      })),
    });
  } finally {
    await client.close();
    rmSync(file);
  }
}

function librariesOf(programs: readonly string[]): readonly string[] {
  const { stdout } = spawnSync('ldd', programs, { encoding: 'utf8' });
  const paths = [...stdout.matchAll(/(\/[^\s:()]+\.so[^\s:()]*)/g)].flatMap(([, path = '']) => (existsSync(path) ? [path] : []));
  return [...new Set(paths)];
}
