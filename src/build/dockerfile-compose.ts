import { posix } from 'node:path';
import { WherryError } from '../base/errors.js';
import type { Platform } from '../oci/descriptor.js';
import type { ImageConfig } from '../oci/manifest.js';
import type { DockerfileProject } from '../project/read.js';
import { type BaseImage, joinEnv } from './assemble.js';
import { type PlatformBase, pinBases } from './bases.js';
import { baseLabels, formatTime, type ImageWork, openStore, sourceLabels } from './build.js';
import { type BuiltImage, finishImage, type PlatformParts } from './built-image.js';
import type { Dockerfile, Stage, Step } from './dockerfile.js';
import { createCopyPlanner } from './dockerfile-copy.js';
import { type FoundFiles, findContextFiles } from './files.js';
import { readSourceState, type SourceState } from './git.js';
import { type BuiltLayer, createLayerMaker } from './layers.js';
import { DEFAULT_PATH, secretWarnings } from './plan.js';

/** The part of a config that instructions write (OCI image-spec, config.md). */
type Settings = Required<ImageConfig>['config'] & {
  readonly ExposedPorts?: Readonly<Record<string, object>>;
  readonly Volumes?: Readonly<Record<string, object>>;
  readonly StopSignal?: string;
  /** Docker's own (image-spec, config.md, "Properties", as reserved): what runs in builds on it, and what runs commands that are no list. */
  readonly OnBuild?: readonly string[] | null;
  readonly Shell?: readonly string[] | null;
};

/** Builds a Dockerfile of one stage in which nothing runs: each COPY is a layer, the rest is the config. Throws BUILD_FAILED. */
export async function composeDockerfile(
  { stages }: Dockerfile,
  request: ImageWork & { readonly project: DockerfileProject },
): Promise<BuiltImage> {
  const { project } = request;
  const [stage] = stages as readonly [Stage];
  const store = await openStore(request);
  const bases = await pinBases(stage.base.text, request);
  const [source, context] = await Promise.all([
    readSourceState(project.dir, request.sourceDateEpoch),
    findContextFiles(project.dir, project.dockerfile),
  ]);
  const makeLayer = createLayerMaker(store);
  const images: PlatformParts[] = [];
  for (const each of bases) images.push(await composePlatform(each, { name: project.name, stage, source, context, makeLayer }));
  return finishImage({ project, source, images, warnings: secretWarnings(context.secrets) }, store);
}

interface Composing {
  readonly name: string;
  readonly stage: Stage;
  readonly source: SourceState;
  readonly context: FoundFiles;
  readonly makeLayer: ReturnType<typeof createLayerMaker>;
}

async function composePlatform(
  { platform, base }: PlatformBase,
  { name, stage, source, context, makeLayer }: Composing,
): Promise<PlatformParts> {
  const layers: BuiltLayer[] = [];
  const planCopy = createCopyPlanner(context.files);
  const labels = { ...sourceLabels(name, source), ...(base && baseLabels(stage.base.text, base)) };
  const inherited: Settings | undefined = base?.config.config;
  if (inherited?.OnBuild?.length) throw withTriggers(stage.base.text);
  let now: Settings = { ...inherited, Env: withPath(inherited?.Env ?? []), Labels: { ...inherited?.Labels, ...labels } };
  for (const step of stage.steps) {
    if (step.keyword === 'COPY' || step.keyword === 'ADD') {
      layers.push(await makeLayer(planCopy(step, now.WorkingDir ?? '/')));
    }
    now = applyStep(step, now);
  }
  const config = composeConfig({ stage, base, source, layers, settings: withoutStaleCommand(stage, now), platform });
  return { config, base, layers, platform };
}

function withTriggers(base: string): WherryError {
  return new WherryError('BUILD_FAILED', `base '${base}' has ONBUILD instructions, which run in what is built on it`, {
    hint: '`wherry build --engine docker` builds it, or with podman or buildah',
  });
}

/** Engines add it where the base has none. */
function withPath(env: readonly string[]): readonly string[] {
  return env.some((line) => line.startsWith('PATH=')) ? env : [DEFAULT_PATH, ...env];
}

/** An ENTRYPOINT of one's own makes the base's CMD, which was meant for another, void (Dockerfile reference, CMD and ENTRYPOINT). */
function withoutStaleCommand({ steps }: Stage, settings: Settings): Settings {
  const has = (keyword: string) => steps.some((step) => step.keyword === keyword);
  if (!has('ENTRYPOINT') || has('CMD')) return settings;
  const { Cmd: _, ...others } = settings;
  return others;
}

function applyStep(step: Step, settings: Settings): Settings {
  const { keyword, words, text, exec } = step;
  const names = () => Object.fromEntries(words.map((word) => [word.text, {}]));
  switch (keyword) {
    case 'ENV':
      return {
        ...settings,
        Env: joinEnv(
          settings.Env ?? [],
          pairsOf(step, settings).map(([name, value]) => `${name}=${value}`),
        ),
      };
    case 'LABEL':
      return { ...settings, Labels: { ...settings.Labels, ...Object.fromEntries(pairsOf(step, settings)) } };
    case 'WORKDIR':
      return { ...settings, WorkingDir: posix.resolve('/', settings.WorkingDir ?? '/', words[0]?.text ?? '') };
    case 'CMD':
      return { ...settings, Cmd: exec ?? shellCommand(text, settings) };
    case 'ENTRYPOINT':
      return { ...settings, Entrypoint: exec ?? shellCommand(text, settings) };
    case 'USER':
      return { ...settings, User: words[0]?.text ?? '' };
    case 'STOPSIGNAL':
      return { ...settings, StopSignal: words[0]?.text ?? '' };
    case 'VOLUME':
      return { ...settings, Volumes: { ...settings.Volumes, ...names() } };
    case 'EXPOSE':
      return {
        ...settings,
        ExposedPorts: { ...settings.ExposedPorts, ...Object.fromEntries(words.map(({ text: port }) => [withProtocol(port), {}])) },
      };
    default:
      return settings;
  }
}

function shellCommand(text: string, { Shell }: Settings): readonly string[] {
  return [...(Shell?.length ? Shell : ['/bin/sh', '-c']), text];
}

const withProtocol = (port: string) => (port.includes('/') ? port : `${port}/tcp`);

/** All values of one instruction see the environment as it was before it; quotes that would keep a `$` are left to engines. */
function pairsOf({ settings }: Step, { Env = [] }: Settings): readonly (readonly [string, string])[] {
  const known = new Map(Env.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]));
  const expand = (value: string) =>
    value.replace(/\$\{(\w+)\}|\$(\w+)/g, (_, braced?: string, plain?: string) => known.get(braced ?? plain ?? '') ?? '');
  return settings.map(({ name, value }) => [name, expand(value ?? '')] as const);
}

interface Composed {
  readonly stage: Stage;
  readonly base: BaseImage | undefined;
  readonly source: SourceState;
  readonly layers: readonly BuiltLayer[];
  readonly settings: Settings;
  readonly platform: Platform;
}

function composeConfig({ stage, base, source, layers, settings, platform: { os, architecture, variant } }: Composed): ImageConfig {
  const created = formatTime(source.createdAt);
  const history = stage.steps.map(({ keyword, text }) => ({
    created,
    created_by: `${keyword} ${text}`,
    ...(keyword !== 'COPY' && keyword !== 'ADD' && { empty_layer: true }),
  }));
  return {
    created,
    architecture,
    os,
    ...(variant !== undefined && { variant }),
    config: settings,
    rootfs: { type: 'layers', diff_ids: [...(base?.config.rootfs.diff_ids ?? []), ...layers.map(({ diffId }) => diffId)] },
    history: [...(base?.config.history ?? []), ...history],
  };
}
