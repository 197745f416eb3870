// The projects of the build benchmark, each for wherry and as a Dockerfile that is cut for caching.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, copyFileSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const MIB = 1024 * 1024;
const PACKAGES = 8;
const FILES = 60;
const IGNORED = 'peer.*\nwherry.*\n';

const MAKE_WHEELS = `
import base64, hashlib, os, sys, zipfile
place, packages, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
digest = lambda data: base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
for number in range(packages):
    name = f"library{number}"
    files = {f"{name}/__init__.py": b""}
    files.update({f"{name}/part{part}.py": b"value = '" + os.urandom(5120).hex().encode() + b"'\\n" for part in range(count)})
    meta = f"{name}-1.0.dist-info"
    files[f"{meta}/METADATA"] = f"Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n".encode()
    files[f"{meta}/WHEEL"] = b"Wheel-Version: 1.0\\nGenerator: bench\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    record = "".join(f"{path},sha256={digest(data)},{len(data)}\\n" for path, data in files.items()) + f"{meta}/RECORD,,\\n"
    with zipfile.ZipFile(f"{place}/{name}-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in {**files, f"{meta}/RECORD": record.encode()}.items():
            archive.writestr(path, data)
`;

/** Writes the wheels that the Python project needs. */
export function makeWheels(dir) {
  mkdirSync(dir, { recursive: true });
  execFileSync('python3', ['-c', MAKE_WHEELS, dir, String(PACKAGES), String(FILES)]);
}

/** A Python project with packages; `code` writes its handler anew. */
export function pythonProject(dir, { base, version }) {
  const settings = `name: python\nhandler: handler.py:handler\nbase: ${base}\ninterpreter: python@${version}\n`;
  return project(dir, {
    settings,
    files: {
      'requirements.txt': names()
        .map((name) => `${name}==1.0\n`)
        .join(''),
    },
    dockerfile: [
      `FROM ${base}`,
      'WORKDIR /app',
      'COPY requirements.txt .',
      'RUN pip install --no-cache-dir --no-compile --target /packages -r requirements.txt',
      'COPY handler.py .',
      'ENV PYTHONPATH=/packages',
      'CMD ["python", "-u", "handler.py"]',
    ],
    code: (text) => ['handler.py', `import library0.part0\ndef handler(job):\n    return '${text}'\n`],
  });
}

/** A Node project whose packages are local tarballs, with its lock. */
export function nodeProject(dir, { base, scratch }) {
  const made = project(dir, {
    settings: `name: node\nhandler: handler.mjs:handler\nbase: ${base}\n`,
    files: {
      // The tarballs are in neither image.
      '.dockerignore': `${IGNORED}packages\n`,
      'package.json': JSON.stringify({
        name: 'app',
        version: '1.0.0',
        dependencies: Object.fromEntries(names().map((name) => [name, `file:packages/${name}-1.0.0.tgz`])),
      }),
    },
    dockerfile: [
      `FROM ${base}`,
      'WORKDIR /app',
      'COPY package.json package-lock.json ./',
      // Neither the tarballs nor npm's cache stay in the image.
      'RUN --mount=type=bind,source=packages,target=packages --mount=type=cache,target=/root/.npm npm ci --omit=dev --ignore-scripts --offline --no-audit --no-fund',
      'COPY handler.mjs .',
      'CMD ["node", "handler.mjs"]',
    ],
    code: (text) => [
      'handler.mjs',
      `import { createRequire } from 'node:module';\nimport library0 from 'library0';\nexport const handler = () => library0 + '${text}';\n`,
    ],
  });
  mkdirSync(join(dir, 'packages'));
  for (const name of names()) copyFileSync(packPackage(join(scratch, name), name), join(dir, 'packages', `${name}-1.0.0.tgz`));
  execFileSync('npm', ['install', '--package-lock-only', '--ignore-scripts', '--no-audit', '--no-fund', '--silent', '--offline'], {
    cwd: dir,
    stdio: 'ignore',
  });
  return made;
}

/** A Python project with one large file, which no compression makes smaller. */
export function modelProject(dir, { base, version, modelMib }) {
  const made = project(dir, {
    settings: `name: model\nhandler: handler.py:handler\nbase: ${base}\ninterpreter: python@${version}\ninclude: ['model.bin']\n`,
    files: {},
    dockerfile: [`FROM ${base}`, 'WORKDIR /app', 'COPY model.bin .', 'COPY handler.py .', 'CMD ["python", "-u", "handler.py"]'],
    code: (text) => ['handler.py', `def handler(job):\n    return '${text}'\n`],
  });
  const block = randomBytes(MIB);
  const file = openSync(join(dir, 'model.bin'), 'w');
  for (let written = 0; written < modelMib; written++) writeSync(file, block);
  closeSync(file);
  return made;
}

function names() {
  return Array.from({ length: PACKAGES }, (_, number) => `library${number}`);
}

function packPackage(dir, name) {
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'package.json'), JSON.stringify({ name, version: '1.0.0', main: 'index.js' }));
  writeFileSync(join(dir, 'index.js'), "module.exports = 'value';\n");
  for (let part = 0; part < FILES; part++)
    writeFileSync(join(dir, `part${part}.js`), `module.exports = '${randomBytes(5120).toString('hex')}';\n`);
  execFileSync('npm', ['pack', '--ignore-scripts', '--silent'], { cwd: dir, stdio: 'ignore' });
  return join(dir, `${name}-1.0.0.tgz`);
}

function project(dir, { settings, files, dockerfile, code }) {
  mkdirSync(dir, { recursive: true });
  const all = {
    'wherry.yaml': settings,
    'peer.Dockerfile': `${dockerfile.join('\n')}\n`,
    // What BuildKit reads in place of the other one.
    'peer.Dockerfile.dockerignore': IGNORED,
    '.dockerignore': IGNORED,
    ...files,
  };
  for (const [name, text] of Object.entries(all)) writeFileSync(join(dir, name), text);
  const write = (text) => {
    const [name, source] = code(text);
    writeFileSync(join(dir, name), source);
  };
  write('first');
  return { dir, write };
}
