import { posix } from 'node:path';
import type { Dockerfile } from './dockerfile.js';
import type { LintContext } from './lint-context.js';
import type { Fault } from './lint-finding.js';

const WEIGHTS = String.raw`\.(safetensors|bin|pt|pth|ckpt|gguf|onnx|h5)\b`;
/** Commands of a shell, and the same out of a program. */
const FETCHES: readonly RegExp[] = [
  new RegExp(String.raw`\b(wget|curl)\b[^|&;]*${WEIGHTS}`),
  /\b(huggingface-cli|hf)\s+download\b/,
  new RegExp(String.raw`\b(urlretrieve|urlopen|requests\.get|httpx\.(get|stream)|wget\.download)\s*\([^)]*${WEIGHTS}`),
  /\b(snapshot_download|hf_hub_download|load_dataset|hub\.load|load_state_dict_from_url)\s*\(/,
];
/** Loads what it is given the name of, and downloads it unless that is a path. */
const LOAD = /(?:\.from_pretrained|\bSentenceTransformer)\s*\(\s*(?:["']([^"']+)["']|([A-Za-z_]\w*)\s*[,)])/;
const IS_PATH = /^(\/|\.\.?\/|~)/;

const FIX = 'download it in a RUN of the Dockerfile, or keep it in a layer (include: in wherry.yaml)';

/** Models that a worker downloads when it starts: in the command, or in the files that it runs, unless the build did so before. */
export function findDownloads(dockerfile: Dockerfile, { sources }: LintContext): readonly Fault[] {
  const last = dockerfile.stages.at(-1);
  const command =
    last?.steps.findLast(({ keyword }) => keyword === 'CMD') ?? last?.steps.findLast(({ keyword }) => keyword === 'ENTRYPOINT');
  const atStart =
    command && findLine(command.text) !== undefined
      ? [{ line: command.line, problem: 'the worker downloads a model when it starts', fix: FIX }]
      : [];
  const runs = dockerfile.stages.flatMap(({ steps }) => steps.filter(({ keyword }) => keyword === 'RUN').map(({ text }) => text));
  const ofBuild = [...sources].filter(([path]) => runs.some((text) => isNamedIn(text, path)));
  if ([...runs, ...ofBuild.map(([, text]) => text)].some((text) => findLine(text) !== undefined)) return atStart;
  const line = command?.line ?? last?.line ?? 1;
  const inFiles = [...sources].flatMap(([path, text]) => {
    const at = ofBuild.some(([other]) => other === path) ? undefined : findLine(text);
    return at === undefined ? [] : [{ line, problem: `${path}:${at} downloads a model, and no RUN does so before`, fix: FIX }];
  });
  return [...atStart, ...inFiles];
}

/** The first line of a text that downloads a model, counted from 1. */
function findLine(text: string): number | undefined {
  const at = text.split('\n').findIndex((line) => !/^\s*#/.test(line) && isDownload(line, text));
  return at < 0 ? undefined : at + 1;
}

function isDownload(line: string, text: string): boolean {
  if (/local_files_only\s*=\s*True/.test(line)) return false;
  if (FETCHES.some((fetch) => fetch.test(line))) return true;
  const [, literal, variable] = LOAD.exec(line) ?? [];
  const name = literal ?? (variable && constantIn(variable, text));
  return name !== undefined && !IS_PATH.test(name);
}

/** What a constant of the file holds; undefined for everything that is worked out. */
function constantIn(variable: string, text: string): string | undefined {
  return new RegExp(`^[ \\t]*${variable}\\s*(?::\\s*\\w+\\s*)?=\\s*["']([^"']+)["']\\s*(?:#.*)?$`, 'm').exec(text)?.[1];
}

function isNamedIn(command: string, path: string): boolean {
  return command.split(/[\s"',;&|()[\]]+/).some((word) => posix.basename(word) === posix.basename(path));
}
