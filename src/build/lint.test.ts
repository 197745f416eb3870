import { describe, expect, it } from 'vitest';
import { lintDockerfile, suggestRule } from './lint.js';
import type { LintContext } from './lint-context.js';
import { LINT_RULES } from './lint-rules.js';

const CONTEXT: LintContext = {
  files: ['Dockerfile', 'builder/requirements.txt', 'src/handler.py', 'src/deep/handler.py', 'models/a.bin'],
  isIgnored: (path) => path.startsWith('data/'),
  bytes: 1_000,
  hasIgnoreFile: true,
  sources: new Map(),
  now: Date.UTC(2026, 10, 24),
};
const lint = (text: string, more: Partial<LintContext> = {}) => lintDockerfile(text, { ...CONTEXT, ...more });
/** `rule@line` of everything that is found. */
const found = (text: string, more?: Partial<LintContext>) => lint(text, more).map(({ rule, line }) => `${rule}@${line}`);
const END = 'CMD ["python", "-u", "/handler.py"]\n';
const BASE = 'FROM python:3.12-slim\n';

it("finds what is wrong with the guide's example", () => {
  const guide = `FROM python:3.11.1-slim

WORKDIR /

COPY builder/requirements.txt .
RUN pip install -r requirements.txt

ADD handler.py .

CMD ["python", "-u", "/handler.py"]
`;
  expect(lint(guide)).toEqual([
    expect.objectContaining({ rule: 'cache-in-layer', severity: 'warning', line: 6 }),
    {
      rule: 'missing-source',
      severity: 'error',
      line: 8,
      problem: "'handler.py' does not exist in the build context",
      fix: "did you mean 'src/handler.py'?",
    },
    expect.objectContaining({ rule: 'add-for-copy', line: 8, fix: 'COPY handler.py .' }),
  ]);
});

it('has nothing to say about a careful one', () => {
  const careful = `# syntax=docker/dockerfile:1
ARG PYTHON=3.12
FROM python:\${PYTHON}-slim AS build
RUN apt-get update && apt-get install -y gcc
FROM python:3.12.1-slim@sha256:${'a'.repeat(64)}
ENV PYTHONUNBUFFERED=1 HF_HOME=/models
COPY --from=build /usr/lib /usr/lib
COPY builder/requirements.txt src/ /app/
COPY src/*.py models /app/
COPY <<EOF /etc/motd
hello
EOF
RUN --mount=type=cache,target=/root/.cache/pip pip install -r /app/requirements.txt
RUN apt-get update \\
 && apt-get install -y libgl1 \\
 && rm -rf /var/lib/apt/lists/*
ADD https://example.test/model.bin /models/
CMD python /app/handler.py
`;
  expect(lint(careful)).toEqual([]);
});

describe('each rule finds its fault at its line, and lets the mended form pass', () => {
  const cases: readonly [rule: string, bad: string, at: number, good: string][] = [
    ['unknown-instruction', `${BASE}COPPY a /\n${END}`, 2, `${BASE}copy src /\n${END}`],
    ['missing-base', `FROM\n${END}`, 1, `${BASE}${END}`],
    ['missing-base', `FROM python 3.12\n${END}`, 1, `FROM --platform=linux/amd64 python:3.12 as a\nFROM a\n${END}`],
    ['missing-base', `FROM Python:3.12\n${END}`, 1, `ARG X\nFROM $X\n${END}`],
    ['missing-word', `${BASE}COPY src\n${END}`, 2, `${BASE}COPY <<EOF /etc/motd\nhello\nEOF\n${END}`],
    ['missing-word', `${BASE}COPY --from=a ["/x"]\n${END}`, 2, `${BASE}COPY --from=a /x /x\n${END}`],
    ['missing-word', `${BASE}WORKDIR\n${END}`, 2, `${BASE}WORKDIR /\nVOLUME ["/a"]\nHEALTHCHECK NONE\nRUN\n${END}`],
    ['missing-word', `${BASE}ENV A=1 B\n${END}`, 2, `${BASE}ENV A=1 B=\nENV A b c\nLABEL a=\nARG C\n${END}`],
    ['missing-source', `${BASE}COPY src \\\n  nowhere /\n${END}`, 3, `${BASE}COPY ./src /src/handler.py $ANY /\n${END}`],
    ['missing-source', `${BASE}COPY src/*.js /\n${END}`, 2, `${BASE}COPY s?c/[h]andler.* /\n${END}`],
    ['missing-source', `${BASE}COPY ["no where", "/"]\n${END}`, 2, `${BASE}COPY [".", "/"]\n${END}`],
    ['unpinned-base', `FROM python\n${END}`, 1, `FROM python@sha256:${'b'.repeat(64)}\n${END}`],
    ['unpinned-base', `ARG TAG=latest\nFROM acme/worker:$TAG\n${END}`, 2, `ARG TAG\nFROM acme/worker:$TAG\n${END}`],
    ['end-of-life-base', `FROM python:3.9-slim\n${END}`, 1, `FROM python:3.12-slim\n${END}`],
    ['end-of-life-base', `FROM python:3.12-slim-buster\n${END}`, 1, `FROM python:3.12-slim-bookworm\n${END}`],
    ['end-of-life-base', 'FROM node:20.1\nCMD ["node", "a.mjs"]\n', 1, 'FROM node:22.1\nCMD ["node", "a.mjs"]\n'],
    ['missing-command', `${BASE}COPY src /\n`, 1, `${BASE}ENTRYPOINT ["python", "-u", "/a.py"]\n`],
    ['missing-command', `${BASE}${END}FROM debian:12\n`, 3, `${BASE}FROM debian:12\n${END}`],
    ['buffered-output', `${BASE}CMD ["python3", "/a.py"]\n`, 2, `${BASE}ENV PYTHONUNBUFFERED=1\nCMD ["python3", "/a.py"]\n`],
    ['buffered-output', `${BASE}CMD python3.12 /a.py\n`, 2, `${BASE}CMD python3.12 -u /a.py\n`],
    ['secret-in-image', `${BASE}ENV A=1 \\\n  HF_TOKEN=hf_x\n${END}`, 3, `${BASE}ENV HF_TOKEN=""\n${END}`],
    [
      'secret-in-image',
      `${BASE}ENV OPENAI_API_KEY=sk-x\n${END}`,
      2,
      `${BASE}ENV MAX_TOKEN=4096 AUTH_TOKEN=/run/secrets/a API_KEY=$KEY\n${END}`,
    ],
    ['secret-in-image', `${BASE}ENV A=1 \\\n  PGPASSWORD=x\n${END}`, 3, `${BASE}ENV PWD=x HF_AUTH=none PUBLIC_KEY=x\n${END}`],
    ['secret-in-image', `ARG NPM_TOKEN\n${BASE}${END}`, 1, `ARG TOKENIZER=a\n${BASE}${END}`],
    [
      'download-at-start',
      `${BASE}CMD wget http://a.test/m.safetensors && python -u a.py\n`,
      2,
      `${BASE}RUN wget http://a.test/m.safetensors\n${END}`,
    ],
    [
      'cache-in-layer',
      `${BASE}RUN apt-get install -y curl\n${END}`,
      2,
      `${BASE}RUN apt-get install curl && rm -rf /var/lib/apt/lists/*\n${END}`,
    ],
    ['cache-in-layer', `${BASE}RUN <<EOF\npip install x\nEOF\n${END}`, 2, `${BASE}ENV PIP_NO_CACHE_DIR=1\nRUN pip install x\n${END}`],
    ['add-for-copy', `${BASE}ADD src /\n${END}`, 2, `${BASE}ADD src/x.tar.gz /\n${END}`],
  ];
  it.each(cases)('%s: %j', (rule, bad, at, good) => {
    expect(found(bad)).toContain(`${rule}@${at}`);
    expect(found(good, { files: [...CONTEXT.files, 'src/x.tar.gz'] }).filter((one) => one.startsWith(rule))).toEqual([]);
  });

  it('is tried for every rule there is', () => {
    const tried = new Set([...cases.map(([rule]) => rule), 'large-context']);
    expect([...tried].sort()).toEqual(LINT_RULES.map(({ name }) => name).sort());
  });
});

it('says that a path is kept out by .dockerignore', () => {
  expect(lint(`${BASE}COPY data/big.bin /\n${END}`)).toMatchObject([
    { rule: 'missing-source', fix: expect.stringContaining('!data/big.bin') },
  ]);
});

it('finds a model that the handler downloads, unless a RUN did so before (row 5)', () => {
  const sources = new Map([['src/handler.py', 'import t\nmodel = t.AutoModel.from_pretrained("acme/big")\n']]);
  expect(lint(BASE + END, { sources })).toMatchObject([
    { rule: 'download-at-start', problem: expect.stringContaining('src/handler.py:2') },
  ]);
  expect(found(`${BASE}RUN python -c 'AutoModel.from_pretrained("acme/big")'\n${END}`, { sources })).toEqual([]);
  const offline = new Map([['src/handler.py', 'AutoModel.from_pretrained("/models/a", local_files_only=True)\n']]);
  expect(found(BASE + END, { sources: offline })).toEqual([]);
});

describe('a download at start (row 5)', () => {
  const START = 'CMD ["/start.sh"]\n';
  const inHandler = (line: string) => new Map([['src/handler.py', `import os\n${line}\n`]]);

  it.each([
    'urllib.request.urlretrieve("https://a.test/m.bin", "/m.bin")',
    'weights = requests.get("https://a.test/m.safetensors").content',
    'model = torch.hub.load("acme/models", "big")',
    'model = SentenceTransformer("acme/small")',
    'path = hf_hub_download("acme/big", "m.gguf")',
  ])('is found in a handler: %s', (line) => {
    expect(lint(BASE + END, { sources: inHandler(line) })).toMatchObject([
      { rule: 'download-at-start', problem: expect.stringContaining('src/handler.py:2') },
    ]);
  });

  it('is found by the value of a constant, and not where that is a path', () => {
    const named = (value: string) => inHandler(`MODEL = "${value}"\nmodel = AutoModel.from_pretrained(MODEL, device="cpu")`);
    expect(found(BASE + END, { sources: named('acme/big') })).toEqual(['download-at-start@2']);
    for (const path of ['/models/big', './big', '../big']) expect(found(BASE + END, { sources: named(path) }), path).toEqual([]);
    expect(found(BASE + END, { sources: inHandler('AutoModel.from_pretrained("/models/big")') })).toEqual([]);
    expect(found(BASE + END, { sources: inHandler('AutoModel.from_pretrained(os.environ["MODEL"])') })).toEqual([]);
  });

  it('is found in the script that a worker starts with', () => {
    const script = new Map([
      ['start.sh', '#!/bin/sh\n# wget of m.bin\nwget -O /m.gguf https://a.test/m.gguf\nexec python -u /handler.py\n'],
    ]);
    expect(lint(BASE + START, { sources: script })).toMatchObject([{ line: 2, problem: expect.stringContaining('start.sh:3') }]);
  });

  it('is none when a program of the build does it', () => {
    const sources = new Map([
      ['builder/fetch.py', 'snapshot_download("acme/big")\n'],
      ['src/handler.py', 'model = AutoModel.from_pretrained("acme/big")\n'],
    ]);
    expect(found(`${BASE}RUN python /builder/fetch.py\n${END}`, { sources })).toEqual([]);
  });
});

it('asks for a .dockerignore when the context is large', () => {
  const bytes = 200 * 1024 * 1024;
  expect(found(BASE + END, { bytes, hasIgnoreFile: false })).toEqual(['large-context@1']);
  expect(found(BASE + END, { bytes })).toEqual([]);
});

it('keeps quiet about rules that are silenced, everywhere or at one instruction', () => {
  const text = `${BASE}# wherry: ignore=add-for-copy,other\nADD src \\\n  /\nADD src /x\n${END}`;
  expect(found(text)).toEqual(['add-for-copy@5']);
  expect(lintDockerfile(text, CONTEXT, ['add-for-copy'])).toEqual([]);
  expect(suggestRule('add-for-coyp')).toBe('add-for-copy');
});

it('reads what is no Dockerfile', () => {
  expect(found('')).toEqual(['missing-base@1']);
  expect(found('\u0000{}\n[[[\nFROM\n').length).toBeGreaterThan(0);
});
