import type { HandlerKind } from '../project/rules.js';

/** A file that `wherry init` writes. */
export interface InitFile {
  /** Relative to the project, with `/`. */
  readonly path: string;
  readonly text: string;
  /** Permission bits; absent for an ordinary file. */
  readonly mode?: number;
}

export interface InitRequest {
  /** Endpoint id. */
  readonly name: string;
  /** `scratch` or an image reference. */
  readonly base: string;
  readonly kind: HandlerKind;
}

const SCHEMA_IN_PACKAGE = './node_modules/wherry/schema/wherry.schema.json';

/** Patterns anchor at the root of the project, so what may lie deeper begins with two stars. */
const IGNORED = [
  '.git',
  '.github',
  '.venv',
  'venv',
  '**/node_modules',
  '**/__pycache__',
  '**/*.pyc',
  '**/.env',
  '**/.env.*',
  '**/*.pem',
  '**/*.key',
];

/** What a new project looks like in one language. */
interface Layout {
  readonly handler: string;
  readonly interpreter: string;
  /** For workers that take the machine's interpreter, whichever minor version it has. */
  readonly anyMinor: string;
  /** Base of the Dockerfile when the project's own base is `scratch`, which Docker cannot run a handler on. */
  readonly dockerBase: string;
  readonly files: (request: InitRequest, dockerBase: string) => readonly InitFile[];
}

const LAYOUTS: Readonly<Record<HandlerKind, Layout>> = {
  python: {
    handler: 'src/handler.py:handler',
    interpreter: 'python@3.12',
    anyMinor: 'python@3',
    dockerBase: 'python:3.12-slim',
    files: pythonFiles,
  },
  node: { handler: 'src/handler.mjs:handler', interpreter: 'node@20', anyMinor: 'node@20', dockerBase: 'node:20-slim', files: nodeFiles },
};

/** The files of a new project: the guide's layout, a `wherry.yaml`, a test, an input to try, and the ignore files. */
export function initFiles(request: InitRequest): readonly InitFile[] {
  const layout = LAYOUTS[request.kind];
  return [
    { path: 'wherry.yaml', text: projectText(request, layout) },
    ...layout.files(request, request.base === 'scratch' ? layout.dockerBase : request.base),
    { path: 'test_input.json', text: `${JSON.stringify({ input: { name: 'Ada' } }, null, 2)}\n` },
    { path: '.github/tests.json', text: `${JSON.stringify(testsOf(request), null, 2)}\n` },
    { path: '.dockerignore', text: lines(...IGNORED) },
    { path: '.gitignore', text: lines('.venv/', 'venv/', 'node_modules/', '__pycache__/', '*.pyc', '.env', '.env.*') },
  ];
}

function projectText({ name, base }: InitRequest, { handler, interpreter, anyMinor }: Layout): string {
  const comment =
    base === 'scratch'
      ? 'no interpreter in the image: workers run as processes with the one of the machine'
      : 'the image the layers are put on';
  return lines(
    `# yaml-language-server: $schema=${SCHEMA_IN_PACKAGE}`,
    "# Every field: wherry explain. Changes under 'scale' and 'limits' make no new release, but for 'init'.",
    `name: ${asYaml(name)} # the endpoint's id, part of every URL`,
    `handler: ${handler}`,
    `base: ${asYaml(base)} # ${comment}`,
    `interpreter: ${base === 'scratch' ? anyMinor : interpreter}`,
    '',
    'scale:',
    '  min: 0 # scales to zero',
    '  max: 3',
    '  idle: 5s # how long a worker waits for another job',
    '',
    'limits:',
    '  execution: 10m # longest run of one job',
    '  ttl: 24h # longest life of a job, queue included',
    '  init: 7m # longest start of a worker',
    '',
    'env:',
    '  LOG_LEVEL: info',
  );
}

function testsOf({ name }: InitRequest): readonly object[] {
  const hardwareConfig = { endpointConfig: { name, workersMax: 1 }, templateConfig: { env: [{ key: 'LOG_LEVEL', value: 'debug' }] } };
  return [
    { hardwareConfig, input: { name: 'Ada' }, output: { message: 'Hello, Ada!' } },
    { hardwareConfig, input: {}, output: { message: 'Hello, world!' } },
  ];
}

function pythonFiles(_request: InitRequest, dockerBase: string): readonly InitFile[] {
  return [
    {
      path: 'src/handler.py',
      text: lines(
        '"""Answers one job at a time."""',
        '',
        'try:',
        '    import runpod',
        'except ImportError:',
        '    import wherry as runpod',
        '',
        '',
        'def handler(job):',
        '    """Greets ``input.name``. What it returns, any JSON value, is the job\'s output."""',
        '    name = (job["input"] or {}).get("name", "world")',
        '    return {"message": f"Hello, {name}!"}',
        '',
        '',
        'if __name__ == "__main__":',
        '    runpod.serverless.start({"handler": handler})',
      ),
    },
    { path: 'builder/requirements.txt', text: lines('runpod') },
    {
      path: 'Dockerfile',
      text: lines(
        "# For 'docker build'; wherry build needs neither this file nor Docker.",
        `FROM ${dockerBase}`,
        '',
        'WORKDIR /',
        '',
        'COPY builder/requirements.txt /builder/requirements.txt',
        'RUN pip install --no-cache-dir -r /builder/requirements.txt',
        '',
        'COPY src/handler.py /handler.py',
        '',
        'CMD ["python", "-u", "/handler.py"]',
      ),
    },
  ];
}

function nodeFiles({ name }: InitRequest, dockerBase: string): readonly InitFile[] {
  const manifest = { name, version: '0.1.0', private: true, type: 'module', dependencies: { '@wherry/worker': '^0.1.0' } };
  return [
    {
      path: 'src/handler.mjs',
      text: lines(
        '/** Greets `input.name`. What it returns, any JSON value, is the output of the job. */',
        'export async function handler(job) {',
        "  const name = job.input?.name ?? 'world';",
        `  return { message: \`Hello, \${name}!\` };`,
        '}',
      ),
    },
    { path: 'package.json', text: `${JSON.stringify(manifest, null, 2)}\n` },
    {
      path: 'Dockerfile',
      text: lines(
        "# For 'docker build'; wherry build needs neither this file nor Docker.",
        `FROM ${dockerBase}`,
        '',
        'WORKDIR /app',
        '',
        'COPY package.json ./',
        'RUN npm install --omit=dev',
        '',
        'COPY src ./src',
        '',
        'CMD ["node", "node_modules/@wherry/worker/src/main.mjs", "/app/src/handler.mjs:handler"]',
      ),
    },
  ];
}

/** Quoted only where plain YAML would read something else than this text. */
function asYaml(text: string): string {
  return /^[a-z][\w.:/@-]*$/.test(text) && !['null', 'true', 'false'].includes(text) && !text.endsWith(':') ? text : JSON.stringify(text);
}

function lines(...texts: readonly string[]): string {
  return `${texts.join('\n')}\n`;
}
