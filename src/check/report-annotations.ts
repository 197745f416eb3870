import type { RunReport, TestResult } from './result.js';

/** What an annotation says of where it stands. */
export interface AnnotationPlace {
  readonly file?: string;
  readonly line?: number;
  readonly col?: number;
  readonly title: string;
}

const MOST_CHARACTERS = 4_000;

/** One workflow command, a line that a runner of GitHub's kind takes as an order: `::error file=a,line=1::text`. Whatever the text holds, it is one. */
export function formatCommand(name: string, text: string, properties: Readonly<Record<string, string | number>> = {}): string {
  const listed = Object.entries(properties).map(([key, value]) => `${key}=${escapeProperty(String(value))}`);
  return `::${name}${listed.length === 0 ? '' : ` ${listed.join(',')}`}::${escapeText(text)}`;
}

const escapeText = (text: string): string => text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
const escapeProperty = (text: string): string => escapeText(text).replaceAll(':', '%3A').replaceAll(',', '%2C');

/** An error at a place of a file. */
export function formatAnnotation(text: string, place: AnnotationPlace): string {
  const shown = text.length <= MOST_CHARACTERS ? text : `${text.slice(0, MOST_CHARACTERS)}… (${text.length} characters)`;
  return formatCommand('error', shown, { ...place });
}

/** An error at the line of each failed test. `pathOf` gives a file of the report as the runner knows it. */
export function formatAnnotations({ results }: RunReport, pathOf: (file: string) => string): readonly string[] {
  return results.filter(({ isPassed }) => !isPassed).map((result) => annotate(result, pathOf));
}

function annotate({ name, place, failures }: TestResult, pathOf: (file: string) => string): string {
  const text = failures.map(({ code, text: said }) => `${code} ${said}`).join('\n');
  return formatAnnotation(text, { file: pathOf(place.file), line: place.line, col: place.column, title: name });
}
