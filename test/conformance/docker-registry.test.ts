import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { needs } from '../needs.js';
import { openStage, runCli, type Stage, until } from '../stage.js';

const run = promisify(execFile);
/** bcrypt of 'secret' with the least rounds. */
const HTPASSWD = 'user:$2b$04$nlgobkQrYXKtPdm7YR29r.AzOuRUpn0eIcm4SUFLQn5yH/A1xtkka\n';
const MIB = 1024 * 1024;

interface Pushed {
  readonly digest: string;
  readonly reference: string;
  readonly uploaded: number;
  readonly skipped: number;
}

/** A port of this machine that is free now. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

// Skipped where the registry of the distribution project (Debian: docker-registry) is not installed.
describe.skipIf(!needs('docker-registry'))('docker-registry', () => {
  let stage: Stage;
  let dir: string;
  let registry: ChildProcess;
  let host: string;
  let login: NodeJS.ProcessEnv;

  beforeAll(async () => {
    stage = await openStage();
    dir = mkdtempSync(join(tmpdir(), 'wherry-distribution-'));
    host = `127.0.0.1:${await freePort()}`;
    writeFileSync(join(dir, 'htpasswd'), HTPASSWD);
    const config = {
      version: '0.1',
      log: { level: 'error' },
      storage: { filesystem: { rootdirectory: join(dir, 'data') }, delete: { enabled: true } },
      http: { addr: host },
      auth: { htpasswd: { realm: 'test', path: join(dir, 'htpasswd') } },
    };
    writeFileSync(join(dir, 'config.yml'), JSON.stringify(config));
    registry = spawn('docker-registry', ['serve', join(dir, 'config.yml')], { stdio: 'ignore' });
    await until(
      () =>
        fetch(`http://${host}/v2/`).then(
          ({ status }) => status === 401,
          () => false,
        ),
      'the registry to answer',
    );
    login = loginTo(host, 'secret');
  });
  afterAll(async () => {
    const ended = once(registry, 'exit');
    registry.kill('SIGTERM');
    await ended;
    await stage.close();
    rmSync(dir, { recursive: true, force: true });
  });

  function loginTo(place: string, password: string): NodeJS.ProcessEnv {
    const config = join(dir, `login-${password}-${place}`);
    mkdirSync(config, { recursive: true });
    const auth = Buffer.from(`user:${password}`).toString('base64');
    writeFileSync(join(config, 'config.json'), JSON.stringify({ auths: { [place]: { auth } } }));
    return { DOCKER_CONFIG: config };
  }

  /** A project whose model is the same for all, in a layer that is uploaded in parts. */
  const model = randomBytes(4 * MIB);
  function project(name: string): string {
    const made = stage.project(name, {
      'wherry.yaml': `name: ${name}\nhandler: handler.py:handler\nbase: scratch\ninclude: ['model.bin']\n`,
      'handler.py': `def handler(job):\n    return '${name}'\n`,
    });
    writeFileSync(join(made, 'model.bin'), model);
    return made;
  }

  const tryPush = (name: string, to: string, env = login) =>
    runCli(['push', project(name), '--to', to, '--json', '--data', stage.dataDir], { env });
  async function push(name: string, to: string, env = login): Promise<Pushed> {
    const result = await tryPush(name, to, env);
    if (result.code !== 0) throw new Error(result.stderr);
    return JSON.parse(result.stdout) as Pushed;
  }
  const skopeo = async (...args: string[]) =>
    (await run('skopeo', ['--insecure-policy', ...args], { env: { ...process.env, ...login } })).stdout;

  it('takes our pushes with a password, sends nothing twice, and mounts what another repository has', async () => {
    const first = await push('first', `${host}/team/first:1.0.0`);
    expect(first).toMatchObject({ skipped: 0, reference: `${host}/team/first:1.0.0@${first.digest}` });
    expect(await push('first', `${host}/team/first:1.0.0`)).toMatchObject({ uploaded: 0, digest: first.digest });
    // Code and config are its own.
    expect(await push('second', `${host}/team/second:1.0.0`)).toMatchObject({ uploaded: 2, skipped: first.uploaded - 2 });
  });

  it('refuses another password, and is told so by name', async () => {
    const refused = await tryPush('first', `${host}/team/refused:1`, loginTo(host, 'wrong'));
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toContain(`docker login ${host}`);
    expect(refused.stderr).not.toContain('wrong');
  });

  // The address of its sessions is signed with the bytes it had: after a break within a request it refuses it, and a new session begins.
  it('takes an upload whose line broke', async () => {
    const line = await openBreakingLine(host, 2 * MIB);
    try {
      const pushed = await push('broken', `${line.host}/team/broken:1`, loginTo(line.host, 'secret'));
      expect(line.broken()).toBe(1);
      const read = JSON.parse(await skopeo('inspect', '--tls-verify=false', `docker://${host}/team/broken:1`)) as { Digest: string };
      expect(read.Digest).toBe(pushed.digest);
    } finally {
      line.close();
    }
  });

  it('has the list of software although it knows no referrers', async () => {
    const { reference } = await push('listed', `${host}/team/listed:1`);
    const sbom = await runCli(['image', 'sbom', reference, '--data', stage.dataDir], { env: login });
    expect(sbom.code, sbom.stderr).toBe(0);
    expect(JSON.parse(sbom.stdout)).toMatchObject({ bomFormat: 'CycloneDX' });
  });

  it('takes an index with the image of each platform, and gives each with its list of software', async () => {
    const settings = 'name: wide\nbase: scratch\nplatforms: [linux/amd64, linux/arm64]\n';
    const wide = stage.project('wide', { 'wherry.yaml': settings, 'handler.py': 'def handler(job):\n    return 1\n' });
    const wherry = async (...args: string[]) =>
      JSON.parse((await runCli([...args, '--json', '--data', stage.dataDir], { env: login })).stdout) as Pushed & { serialNumber: string };
    const { reference, digest } = await wherry('push', wide, '--to', `${host}/team/wide:1`, '--sbom');
    expect(reference).toBe(`${host}/team/wide:1@${digest}`);
    const lists = [];
    for (const platform of ['linux/amd64', 'linux/arm64']) lists.push(await wherry('image', 'sbom', reference, '--platform', platform));
    expect(new Set(lists.map(({ serialNumber }) => serialNumber)).size).toBe(2);
  });

  it.skipIf(!needs('skopeo'))('gives our image to skopeo, to an OCI layout and back with the same digest (D8)', async () => {
    const { digest } = await push('copied', `${host}/team/copied:1`);
    const inspected = JSON.parse(await skopeo('inspect', '--tls-verify=false', `docker://${host}/team/copied@${digest}`)) as {
      Digest: string;
    };
    expect(inspected.Digest).toBe(digest);
    const layout = `oci:${join(dir, 'layout')}:1`;
    await skopeo('copy', '--preserve-digests', '--src-tls-verify=false', `docker://${host}/team/copied:1`, layout);
    await skopeo('copy', '--preserve-digests', '--dest-tls-verify=false', layout, `docker://${host}/team/returned:1`);
    const index = JSON.parse(readFileSync(join(dir, 'layout/index.json'), 'utf8')) as { manifests: { digest: string }[] };
    expect(index.manifests.map((manifest) => manifest.digest)).toEqual([digest]);
    const returned = JSON.parse(await skopeo('inspect', '--tls-verify=false', `docker://${host}/team/returned:1`)) as { Digest: string };
    expect(returned.Digest).toBe(digest);
  });
});

/** A line to a registry that breaks once, when so many bytes went over one connection. */
async function openBreakingLine(to: string, afterBytes: number) {
  const [name = '', port] = to.split(':');
  let broken = 0;
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    const onward = connect(Number(port), name);
    let sent = 0;
    socket.on('data', (part) => {
      sent += part.length;
      if (sent < afterBytes || broken > 0) return;
      broken += 1;
      // What was read goes on to the registry before the line ends.
      onward.end();
      socket.destroy();
    });
    socket.pipe(onward).pipe(socket);
    for (const each of [socket, onward]) sockets.add(each.on('error', () => {}));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  return { host: `127.0.0.1:${(server.address() as AddressInfo).port}`, broken: () => broken, close };
}
