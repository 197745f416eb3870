// The real services that tests talk to: Debian packages, installed when root and missing, or named clearly.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const SERVICES = [
  { name: 'skopeo', packages: ['skopeo'] },
  { name: 'docker-registry', packages: ['docker-registry'] },
  { name: 'podman', packages: ['podman', 'runc'] },
  { name: 'dockerd', packages: ['docker.io', 'iptables'] },
  { name: 'pip3', packages: ['python3-pip', 'python3-wheel'] },
  { name: 'python3', packages: ['python3'] },
  { name: 'git', packages: ['git'] },
  { name: 'curl', packages: ['curl'] },
  { name: 'faketime', packages: ['faketime'] },
  { name: 'mkfs.xfs', packages: ['xfsprogs'] },
];
/** What only benchmarks need. */
const BENCH_SERVICES = [{ name: 'redis-server', packages: ['redis-server'] }];

/** Names of the services that are there now; tests require these and skip the others with a reason. */
export function ensureServices() {
  const missing = SERVICES.filter(({ name }) => !isThere(name));
  if (missing.length > 0) install(missing);
  const absent = SERVICES.filter(({ name }) => !isThere(name));
  for (const { name, packages } of absent)
    console.error(`wherry: '${name}' is missing (Debian: ${packages.join(' ')}); the tests that need it are skipped`);
  return SERVICES.filter((service) => !absent.includes(service)).map(({ name }) => name);
}

/** Installs what benchmarks are measured beside, when root and missing; a benchmark that needs it says so itself. */
export function ensureBenchServices() {
  const missing = BENCH_SERVICES.filter(({ name }) => !isThere(name));
  if (missing.length > 0) install(missing);
}

function isThere(name) {
  return (
    spawnSync('sh', ['-c', `command -v ${name}`], { stdio: 'ignore', env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` } })
      .status === 0
  );
}

function install(missing) {
  if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) return;
  const packages = missing.flatMap((service) => service.packages);
  console.error(`wherry: installing ${packages.join(' ')}`);
  // RUNLEVEL keeps a package from starting its daemon: what is needed is started where it is needed.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  const apt = (...args) => spawnSync('apt-get', ['-qq', ...args], { stdio: ['ignore', 2, 2], env }).status === 0;
  const wanted = ['install', '-y', '--no-install-recommends', ...packages];
  if (!apt(...wanted)) apt('update') && apt(...wanted);
}
