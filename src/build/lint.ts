import { findNearest } from '../project/nearest.js';
import { type Dockerfile, parseDockerfile, type Step } from './dockerfile.js';
import type { LintContext } from './lint-context.js';
import type { Fault, LintFinding } from './lint-finding.js';
import { LINT_RULES, type LintRule } from './lint-rules.js';

/** Everything that is wrong or unwise in a Dockerfile, by line. Rules are silenced by name, or by `# wherry: ignore=RULE` above a line. */
export function lintDockerfile(text: string, context: LintContext, silenced: readonly string[] = []): readonly LintFinding[] {
  const dockerfile = parseDockerfile(text);
  return LINT_RULES.filter(({ name }) => !silenced.includes(name))
    .flatMap((rule) => rule.find(dockerfile, context).map((fault) => toFinding(rule, fault)))
    .filter(({ rule, line }) => !isSilenced(dockerfile, rule, line))
    .sort((a, b) => a.line - b.line);
}

function toFinding({ name, severity }: LintRule, fault: Fault): LintFinding {
  return { rule: name, severity, ...fault };
}

/** The name that an unknown rule was probably meant to be. */
export function suggestRule(name: string): string | undefined {
  return findNearest(
    name,
    LINT_RULES.map((rule) => rule.name),
  );
}

function isSilenced({ comments, head, stages }: Dockerfile, rule: string, line: number): boolean {
  const isIn = (step: Pick<Step, 'line'>) => step.line <= line;
  const begins = [...head, ...stages, ...stages.flatMap(({ steps }) => steps)].filter(isIn).map((step) => step.line);
  // The finding may be in a continued line; the comment is above its instruction.
  const comment = comments.get(Math.max(...begins, 1) - 1) ?? '';
  const [, names = ''] = /^wherry:\s*ignore=([\w,-]+)/.exec(comment.trim()) ?? [];
  return names.split(',').includes(rule);
}
