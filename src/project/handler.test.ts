import { expect, test } from 'vitest';
import { detectFunction, findHandler, HANDLER_PATHS, readHandler } from './handler.js';

function sourcesOf(files: Readonly<Record<string, string>>) {
  return async (path: string) => files[path];
}

const PYTHON = 'def handler(job):\n    return 1\n';
const NODE = 'export const handler = (job) => 1;\n';

test.each([
  ['a.py', PYTHON, 'handler'],
  ['a.py', 'async def handler(job): pass\n', 'handler'],
  ['a.py', 'handler = make()\n', 'handler'],
  ['a.py', 'def work(job): pass\nrunpod.serverless.start({\n  "handler": work,\n})\n', 'work'],
  ['a.py', 'class A:\n    def handler(self): pass\n', undefined],
  ['a.py', '# def handler(job)\n', undefined],
  ['a.mjs', NODE, 'handler'],
  ['a.ts', 'export async function handler(job: Job): Promise<void> {}\nexport const other = 1;\n', 'handler'],
  ['a.mjs', 'const x = 1;\nexport { x as handler };\n', 'handler'],
  ['a.mjs', 'export default async (job) => 1;\nexport const other = 1;\n', 'default'],
  ['a.mjs', 'export function greet(job) {}\n', 'greet'],
  ['a.mjs', 'export function greet(job) {}\nexport function other() {}\n', undefined],
  ['a.mjs', '// export function handler() {}\n/* export const handler = 1 */\n', undefined],
  ['a.cjs', 'exports.handler = (job) => 1;\n', 'handler'],
  ['a.cjs', 'module.exports = { handler, other };\n', 'handler'],
  ['a.cjs', 'module.exports = { handler: work };\n', 'handler'],
  ['a.cjs', 'module.exports = (job) => 1;\n', 'default'],
])('finds the function in %s %j', (path, source, expected) => {
  expect(detectFunction(path, source)).toBe(expected);
});

test.each(HANDLER_PATHS)('finds a handler at %s', async (path) => {
  const { handler } = await findHandler(sourcesOf({ [path]: path.endsWith('.py') ? PYTHON : NODE }));
  expect(handler).toEqual({ path, function: 'handler', kind: path.endsWith('.py') ? 'python' : 'node' });
});

test('takes the first of two handlers and says so', async () => {
  const { handler, chosen } = await findHandler(sourcesOf({ 'handler.mjs': NODE, 'src/handler.py': PYTHON }));
  expect(handler.path).toBe('src/handler.py');
  expect(chosen).toEqual([
    'handler: src/handler.py:handler (found by convention)',
    "not used: handler.mjs (src/handler.py comes first; name another as 'handler' in wherry.yaml)",
  ]);
});

test('passes over a file without a handler', async () => {
  const { handler } = await findHandler(sourcesOf({ 'handler.py': 'X = 1\n', 'main.py': PYTHON }));
  expect(handler.path).toBe('main.py');
});

test('lists the tried paths when nothing is found', async () => {
  await expect(findHandler(sourcesOf({}))).rejects.toMatchObject({
    code: 'HANDLER_NOT_FOUND',
    message: expect.stringContaining('rp_handler.py'),
  });
  await expect(findHandler(sourcesOf({ 'handler.py': 'X = 1\n' }))).rejects.toThrow("handler.py has no function 'handler'");
});

test('takes the named file and function', async () => {
  const files = sourcesOf({ 'lib/a.py': PYTHON });
  expect(await readHandler('./lib/a.py:run', files, async () => [])).toEqual({
    handler: { path: 'lib/a.py', function: 'run', kind: 'python' },
    chosen: [],
  });
  expect((await readHandler('lib/a.py', files, async () => [])).handler.function).toBe('handler');
});

test('suggests files when the named one is absent', async () => {
  const refused = readHandler('handler.py:handler', sourcesOf({}), async () => ['src/handler.py', 'README.md', 'handlr.py']);
  await expect(refused).rejects.toMatchObject({ code: 'HANDLER_NOT_FOUND', hint: "did you mean 'src/handler.py' or 'handlr.py'" });
});
