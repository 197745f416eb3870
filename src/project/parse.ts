import { type Document, isMap, isScalar, isSeq } from 'yaml';
import { nodeAt, openDocument } from './document.js';
import { findField } from './fields.js';
import { checkSchema } from './findings.js';
import type { ProjectFile } from './project-file.js';
import { checkRules } from './rules.js';

const HINT = 'wherry explain lists all fields';

/** Parses and checks the text of a project file; `file` is the name that messages show. Throws CONFIG_INVALID with every problem in `detail`. */
export function parseProject(text: string, file: string): ProjectFile {
  const source = openDocument(text, file, HINT);
  keepSource(source.document);
  const value = source.read() ?? {};
  const found = checkSchema(value);
  const problems = found.length > 0 ? found : checkRules(value as ProjectFile);
  if (problems.length > 0) throw source.refusal(problems, hintOf);
  return value as ProjectFile;
}

/** Environment values, arguments and what a node must be stay the text of the file: `1.10` must not become `1.1`. */
function keepSource(document: Document): void {
  for (const path of [['env'], ['args'], ['placement', 'cuda'], ['placement', 'labels']]) {
    const node = nodeAt(document, path);
    const values: readonly unknown[] = isMap(node) ? node.items.map(({ value }) => value) : isSeq(node) ? node.items : [node];
    for (const value of values) {
      if (isScalar(value) && value.value !== null && typeof value.value !== 'string') value.value = value.source ?? String(value.value);
    }
  }
}

function hintOf(paths: readonly string[]): string {
  const field = paths.find((path) => findField(path) !== undefined);
  return field === undefined ? HINT : `wherry explain ${field}`;
}
