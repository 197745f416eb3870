// How long functions and files may be, and how many verbs the two contracts may have (docs/adr/0008, docs/adr/0026).

import { readFileSync } from 'node:fs';
import ts from 'typescript';

const FILE_LINES = 400;
const FUNCTION_LINES = 60;
/** Longer ones, each with its reason. */
const LONG_FUNCTIONS = {
  'src/compose.ts composeServer': 'the wiring of the server in the order in which its parts need each other, without a decision',
  'src/store/sqlite/queue.ts prepare': 'a list of prepared statements',
};
/** Records go through one generic contract and are not counted. */
const VERBS = [
  { file: 'src/store/store.ts', contract: 'Store', limit: 35, except: /Records?$/ },
  { file: 'src/runtime/runtime.ts', contract: 'Runtime', limit: 10, except: /^$/ },
];

/** What is too long in these files, a sentence each. */
export function findOversized(files) {
  const faults = [];
  const seen = new Set();
  for (const file of files) {
    const text = readFileSync(file, 'utf8');
    if (text.split('\n').length > FILE_LINES + 1) faults.push(`${file} is longer than ${FILE_LINES} lines`);
    if (!/\.(ts|mjs)$/.test(file) || file.endsWith('.test.ts')) continue;
    for (const { name, lines } of listLong(ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true))) {
      seen.add(`${file} ${name}`);
      if (!(`${file} ${name}` in LONG_FUNCTIONS)) faults.push(`${file}: '${name}' has ${lines} lines, above ${FUNCTION_LINES}`);
    }
  }
  for (const name of Object.keys(LONG_FUNCTIONS))
    if (!seen.has(name)) faults.push(`'${name}' is no exception any more: take it off the list`);
  return [...faults, ...VERBS.flatMap(findVerbs)];
}

function findVerbs({ file, contract, limit, except }) {
  const source = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest, true);
  const declared = source.statements.find((node) => ts.isInterfaceDeclaration(node) && node.name.text === contract);
  const verbs = (declared?.members ?? []).filter(ts.isMethodSignature).map(({ name }) => name.getText(source));
  const counted = verbs.filter((verb) => !except.test(verb));
  if (counted.length === 0) return [`${file}: no verbs of ${contract} were seen; the check itself is broken`];
  return counted.length > limit ? [`${file}: ${contract} has ${counted.length} verbs, above ${limit}`] : [];
}

function listLong(source) {
  const found = [];
  const visit = (node) => {
    if (ts.isFunctionLike(node) && node.body) {
      // What gives an object of functions is measured without the functions in it, which are measured themselves (ADR 8).
      const lines = lengthOf(source, node) - (isFactory(node) ? lengthInside(source, node.body) : 0);
      if (lines > FUNCTION_LINES)
        found.push({ name: node.name?.getText(source) ?? node.parent.name?.getText(source) ?? 'a function', lines });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

function isFactory({ body }) {
  return (body.statements ?? []).some(
    (statement) => ts.isReturnStatement(statement) && statement.expression && ts.isObjectLiteralExpression(statement.expression),
  );
}

function lengthInside(source, body) {
  let lines = 0;
  const visit = (node) => {
    if (ts.isFunctionLike(node) && node.body) lines += lengthOf(source, node);
    else ts.forEachChild(node, visit);
  };
  ts.forEachChild(body, visit);
  return lines;
}

function lengthOf(source, node) {
  const lineAt = (position) => source.getLineAndCharacterOfPosition(position).line;
  return lineAt(node.end) - lineAt(node.getStart(source)) + 1;
}
