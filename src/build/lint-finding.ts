export type Severity = 'error' | 'warning';

/** A fault before it is known which rule found it. */
export interface Fault {
  readonly line: number;
  readonly problem: string;
  readonly fix: string;
}

export interface LintFinding extends Fault {
  readonly rule: string;
  readonly severity: Severity;
}
