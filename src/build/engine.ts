import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WherryError } from '../base/errors.js';
import { withTimeLimit } from '../base/time-limit.js';
import { runTool, type ToolRun } from './tool.js';

/** Engines that build Dockerfiles, in the order in which they are looked for. */
const ENGINES = ['docker', 'podman', 'buildah'] as const;
export type EngineName = (typeof ENGINES)[number];

/** Throws USAGE for a name that is none of them. */
export function engineNamed(text: string): EngineName {
  const known = ENGINES.find((name) => name === text);
  if (known !== undefined) return known;
  throw new WherryError('USAGE', `'${text}' is no engine that builds Dockerfiles`, { hint: `use ${ENGINES.join(', ')}` });
}

/** What an engine is asked to build. */
export interface EngineBuild {
  readonly dir: string;
  /** Path below `dir`. */
  readonly dockerfile: string;
  /** Name that the engine keeps the image under. */
  readonly tag: string;
  /** `linux/amd64` */
  readonly platform: string;
  readonly labels: Readonly<Record<string, string>>;
  /** `NAME=value`, or `NAME` for the value of the environment. */
  readonly buildArgs: readonly string[];
  /** As the engines take them: `id=token,src=file` or `id=token,env=NAME`. */
  readonly secrets: readonly string[];
  /** Nothing that the engine keeps of earlier builds is used. */
  readonly isFresh: boolean;
}

/** An engine of this machine, through its command line. */
export interface Engine {
  readonly name: EngineName;
  /** Gives the id of the image. Throws BUILD_FAILED with the engine's own reason. */
  build(request: EngineBuild): Promise<string>;
  /** Writes an image as a Docker archive (`docker image save`). Throws BUILD_FAILED. */
  save(id: string, file: string): Promise<void>;
}

type EngineTools = Pick<ToolRun, 'environment' | 'report' | 'signal'>;

/** An engine whose daemon does not answer its client by then is as good as none. */
const ANSWER_MS = 10_000;

/** The engine that is asked for, or the first that answers; undefined when none does. */
export async function findEngine(wanted: EngineName | undefined, tools: EngineTools): Promise<Engine | undefined> {
  for (const name of wanted === undefined ? ENGINES : [wanted]) if (await answers(name, tools)) return openEngine(name, tools);
  return undefined;
}

/** `docker version` fails without its daemon, which its client's own version would not show. */
function answers(name: EngineName, tools: EngineTools): Promise<boolean> {
  return succeeds(name, name === 'buildah' ? ['--version'] : ['version'], tools);
}

function hasBuildKit(tools: EngineTools): Promise<boolean> {
  return succeeds('docker', ['buildx', 'version'], tools);
}

async function succeeds(name: EngineName, args: readonly string[], { environment, signal }: EngineTools): Promise<boolean> {
  const run = { cwd: tmpdir(), environment, report: () => {} };
  const { exitCode } = await withTimeLimit({ limitMs: ANSWER_MS, signal }, (until) => runTool(name, args, { ...run, signal: until })).catch(
    () => ({ exitCode: null }),
  );
  signal.throwIfAborted();
  return exitCode === 0;
}

async function openEngine(name: EngineName, tools: EngineTools): Promise<Engine> {
  const isBuildKit = name === 'docker' && (await hasBuildKit(tools));
  const environment = {
    ...tools.environment,
    ...(name === 'docker' && { DOCKER_BUILDKIT: isBuildKit ? '1' : '0', BUILDKIT_PROGRESS: 'plain' }),
  };
  const run = (args: readonly string[], cwd: string) => runTool(name, args, { ...tools, cwd, environment });
  return {
    name,
    async build(request) {
      if (request.secrets.length > 0 && name === 'docker' && !isBuildKit) throw withoutBuildKit();
      const scratch = await mkdtemp(join(tmpdir(), 'wherry-engine-build-'));
      try {
        const idFile = join(scratch, 'id');
        // Podman looks for a base of the platform by itself, and one that only it has could not be pulled.
        const fresh = request.isFresh ? ['--no-cache', ...(name === 'docker' ? ['--pull'] : [])] : [];
        const flags = [...(isBuildKit ? ['--load'] : []), ...fresh];
        const { exitCode, output } = await run(['build', ...flags, ...buildArguments(request, idFile)], request.dir);
        if (exitCode !== 0) throw explainFailure(name, request, output);
        return (await readFile(idFile, 'utf8')).trim();
      } finally {
        await rm(scratch, { recursive: true, force: true });
      }
    },
    async save(id, file) {
      const args = name === 'buildah' ? ['push', id, `docker-archive:${file}`] : ['save', ...saveFormat(name), '-o', file, id];
      const { exitCode, output } = await run(args, tmpdir());
      if (exitCode !== 0) throw refused(`${name} could not write image ${id}`, output);
    },
  };
}

function buildArguments({ dir, dockerfile, tag, platform, labels, buildArgs, secrets }: EngineBuild, idFile: string): readonly string[] {
  return [
    ...['--iidfile', idFile, '--file', join(dir, dockerfile), '--tag', tag, '--platform', platform],
    ...Object.entries(labels).flatMap(([name, value]) => ['--label', `${name}=${value}`]),
    ...buildArgs.flatMap((argument) => ['--build-arg', argument]),
    ...secrets.flatMap((secret) => ['--secret', secret]),
    dir,
  ];
}

const saveFormat = (name: EngineName) => (name === 'podman' ? ['--format', 'docker-archive'] : []);

function explainFailure(name: EngineName, { dockerfile, platform }: EngineBuild, output: readonly string[]): WherryError {
  const what = `${name} could not build ${dockerfile} for ${platform}`;
  if (!output.some((line) => /exec format error/i.test(line))) return refused(what, output);
  return new WherryError('BUILD_FAILED', `${what}: a program in it is for another processor than the engine has (exec format error)`, {
    hint: `give the engine's machine an emulator (qemu-user-static with binfmt_misc), or build on a machine for ${platform}`,
    detail: output.slice(-50),
  });
}

function refused(what: string, output: readonly string[]): WherryError {
  // The last line tells only which step it was.
  const isReason = (line: string) =>
    /error|denied|not found|no such|invalid/i.test(line) && !/non-zero code|exit code|failed to solve/i.test(line);
  const reason = output.findLast(isReason) ?? output.at(-1);
  return new WherryError('BUILD_FAILED', `${what}: ${reason?.trim() ?? 'it gave no reason'}`, {
    hint: 'correct the Dockerfile; --json shows the last lines of the engine',
    detail: output.slice(-50),
  });
}

function withoutBuildKit(): WherryError {
  return new WherryError('BUILD_FAILED', 'secrets were given, and this docker has no BuildKit, which alone can keep them out of layers', {
    hint: "install docker's buildx plugin, or build with --engine podman",
  });
}
