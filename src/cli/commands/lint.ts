import { join, resolve } from 'node:path';
import { WherryError } from '../../base/errors.js';
import type { LintFinding } from '../../build/lint-finding.js';
import { type Command, textOf } from '../command.js';
import { formatTable, type Output } from '../output.js';

export const lint: Command = {
  name: 'lint',
  summary: 'say what is wrong or unwise in a Dockerfile, with lines and fixes',
  args: '[dir]',
  options: [
    {
      flags: '--dockerfile <path>',
      text: 'the Dockerfile, relative to the directory (default: `dockerfile` of wherry.yaml, else Dockerfile)',
    },
    { flags: '--ignore <rules>', text: 'names of rules that are not asked for, with commas' },
    { flags: '--strict', text: 'warnings count as errors' },
    { flags: '--rules', text: 'list the rules instead' },
  ],
  example: 'wherry lint . --ignore add-for-copy',
  async run({ args, options, output }) {
    if (options['rules'] === true) return listRules(output);
    const [{ openClock }, { lintDockerfile }, { readLintContext }, { findDockerfile }] = await Promise.all([
      import('../../base/clock.js'),
      import('../../build/lint.js'),
      import('../../build/lint-context.js'),
      import('../../project/read.js'),
    ]);
    const dir = resolve(args[0] ?? '.');
    const path = textOf(options, 'dockerfile') ?? (await findDockerfile(dir));
    const silenced = await readRules(textOf(options, 'ignore') ?? '');
    const text = await readDockerfile(dir, path);
    const findings = lintDockerfile(text, await readLintContext(dir, { path, text }, openClock().now()), silenced);
    const isFailed = findings.some(({ severity }) => severity === 'error' || options['strict'] === true);
    output.result({ dockerfile: path, findings }, findings.map((finding) => format(path, finding)).join('\n') || `${path}: nothing to say`);
    return isFailed ? 1 : 0;
  },
};

async function listRules(output: Output): Promise<number> {
  const { LINT_RULES } = await import('../../build/lint-rules.js');
  const rules = LINT_RULES.map(({ name, severity, why }) => ({ name, severity, why }));
  const rows = rules.map(({ name, severity, why }) => [name, severity, why]);
  output.result({ rules }, formatTable(['rule', '', 'because'], rows));
  return 0;
}

function format(path: string, { line, severity, problem, fix, rule }: LintFinding): string {
  return `${path}:${line}: ${severity}: ${problem} [${rule}]\n  ${fix}`;
}

async function readDockerfile(dir: string, path: string): Promise<string> {
  const { readProjectText } = await import('../../build/project-text.js');
  const text = await readProjectText(join(dir, path));
  if (text !== undefined) return text;
  throw new WherryError('NOT_FOUND', `there is no '${path}' in '${dir}'`, { hint: 'name it with --dockerfile' });
}

async function readRules(text: string): Promise<readonly string[]> {
  const [{ suggestRule }, { LINT_RULES }] = await Promise.all([import('../../build/lint.js'), import('../../build/lint-rules.js')]);
  const names = text.split(',').filter((name) => name !== '');
  const unknown = names.find((name) => !LINT_RULES.some((rule) => rule.name === name));
  if (unknown === undefined) return names;
  const near = suggestRule(unknown);
  throw new WherryError('USAGE', `there is no rule '${unknown}'`, {
    hint: near === undefined ? `the rules are ${LINT_RULES.map(({ name }) => name).join(', ')}` : `did you mean '${near}'?`,
  });
}
