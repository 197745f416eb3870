import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { WherryError } from '../base/errors.js';
import { markerEnvironment, type PythonTarget, platformTags } from './python-target.js';
import type { Requirements } from './requirements.js';
import { runTool, type ToolEnded } from './tool.js';

export interface PipRequest {
  readonly requirements: Requirements;
  readonly target: PythonTarget;
  /** The project: relative paths in requirements begin here. */
  readonly dir: string;
  /** Empty directory for the packages and pip's own files. */
  readonly stagingDir: string;
  /** Of this machine: it says which index pip asks, and where Python is. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Gets a line whenever pip says something. */
  readonly report: (line: string) => void;
  readonly signal: AbortSignal;
}

/**
 * pip answers environment markers for the Python that runs it, whatever platform it is told to install for. This puts the target's
 * values in their place. And pip builds directories, archives and repositories that are named as they are, though it is told to take only wheels:
 * that runs their code on this machine, for this machine. This refuses them.
 */
const PROGRAM = `
import json, sys
from pip._internal.distributions.sdist import SourceDistribution
from pip._internal.exceptions import InstallationError
def refuse(self, *args, **options):
    raise InstallationError("no wheel: " + str(self.req.link or self.req))
SourceDistribution.prepare_distribution_metadata = refuse
from pip._vendor.packaging import markers
of_this_machine = markers.default_environment
target = json.loads(sys.argv[1])
markers.default_environment = lambda: {**of_this_machine(), **target}
from pip._internal.cli.main import main
sys.exit(main(sys.argv[2:]))
`;

/** The first in PATH may lack pip where the system's own has it. */
const PYTHONS = ['python3', '/usr/bin/python3'] as const;

/**
 * Installs wheels for the target into `stagingDir/packages`, and gives that directory. Throws BUILD_FAILED when there is no pip, when a package
 * cannot be found, and when it has no wheel for the target.
 */
export async function installWheels(request: PipRequest): Promise<string> {
  const { requirements, target, dir, stagingDir, report } = request;
  const python = await findPip(request);
  const packages = join(stagingDir, 'packages');
  await mkdir(packages, { recursive: true });
  const args = ['-c', PROGRAM, JSON.stringify(markerEnvironment(target)), ...installArguments(request, packages)];
  const listFile = join(stagingDir, 'requirements.txt');
  await writeFile(listFile, `${requirements.lines.map((line) => fromProject(line, dir)).join('\n')}\n`);
  report(`installing the packages of ${requirements.file} for Python ${target.version} on linux/${target.architecture}`);
  const { exitCode, output } = await run(python, [...args, '--requirement', listFile], request);
  if (exitCode !== 0) throw explainFailure(output, request);
  return packages;
}

/** pip reads these paths from where the list is, and other paths from where it runs. */
function fromProject(line: string, dir: string): string {
  return line.replace(/^(--constraint|--find-links) (?!\w+:)(\S+)$/, (_, flag: string, path: string) => `${flag} ${resolve(dir, path)}`);
}

function installArguments({ requirements, target }: PipRequest, packages: string): readonly string[] {
  return [
    'install',
    ...['--target', packages, '--no-compile', '--only-binary=:all:'],
    ...platformTags(target).flatMap((tag) => ['--platform', tag]),
    ...['--implementation', 'cp', '--python-version', target.version],
    ...['--no-input', '--disable-pip-version-check', '--progress-bar', 'off', '--root-user-action', 'ignore', '--no-warn-conflicts'],
    ...(requirements.isLocked ? ['--no-deps', '--require-hashes'] : []),
  ];
}

async function findPip(request: PipRequest): Promise<string> {
  for (const python of PYTHONS) {
    const { exitCode } = await run(python, ['-c', 'import pip'], { ...request, report: () => {} }).catch(() => ({ exitCode: 1 }));
    request.signal.throwIfAborted();
    if (exitCode === 0) return python;
  }
  throw new WherryError('BUILD_FAILED', `the packages of ${request.requirements.file} cannot be installed: no python3 with pip was found`, {
    hint: 'install python3 and pip, or build with a Dockerfile',
  });
}

function run(program: string, args: readonly string[], { dir, environment, report, signal }: PipRequest): Promise<ToolEnded> {
  const own = { PYTHONDONTWRITEBYTECODE: '1', PIP_NO_COLOR: '1', LC_ALL: 'C.UTF-8' };
  return runTool(program, args, { cwd: dir, environment: { ...environment, ...own }, report, signal });
}

function explainFailure(output: readonly string[], { requirements: { file }, target }: PipRequest): WherryError {
  const detail = output.slice(-20).map(withoutCredentials);
  const missing = /No matching distribution found for (.+)/.exec(detail.join('\n'))?.[1];
  const source = /ERROR: no wheel: (.+)/.exec(detail.join('\n'))?.[1];
  if (source !== undefined) {
    return new WherryError('BUILD_FAILED', `'${source.trim()}' of ${file} is no wheel, and wherry runs no code to make one`, {
      hint: 'build the wheel (`pip wheel`) and name its file in requirements.txt, or build the image with a Dockerfile',
      detail,
    });
  }
  const where = `Python ${target.version} on linux/${target.architecture} (${target.libc})`;
  if (missing !== undefined) {
    return new WherryError('BUILD_FAILED', `package '${missing.trim()}' of ${file} has no wheel for ${where}`, {
      hint: 'check its name and version; wherry installs wheels only, so a package that must be compiled needs a Dockerfile, or a wheel of yours named in requirements.txt',
      detail,
    });
  }
  const reason = detail.filter((line) => line.startsWith('ERROR:')).map((line) => line.slice('ERROR:'.length).trim());
  return new WherryError(
    'BUILD_FAILED',
    `the packages of ${file} could not be installed for ${where}: ${reason[0] ?? detail.at(-1) ?? 'pip gave no reason'}`,
    {
      hint: '--json shows what pip said',
      detail,
    },
  );
}

function withoutCredentials(line: string): string {
  return line.replace(/(\w+:\/\/)[^/\s]+@/g, '$1');
}
