import { type Copy, DockerfileParser, type From, type Instruction, type PropertyInstruction } from 'dockerfile-ast';

/** A word of an instruction, with variables replaced by what the Dockerfile says of them. */
export interface Word {
  readonly text: string;
  /** From 1. */
  readonly line: number;
  /** It has a variable whose value the Dockerfile does not know. */
  readonly isOpen: boolean;
}

export interface Setting {
  readonly name: string;
  /** Null for `ARG NAME`. */
  readonly value: string | null;
  /** The value as it is written, with quotes and backslashes; lines that are continued are one. */
  readonly raw: string;
  readonly line: number;
}

/** One instruction. */
export interface Step {
  /** In capitals: `FROM`, `COPY`, … */
  readonly keyword: string;
  readonly line: number;
  readonly words: readonly Word[];
  readonly flags: ReadonlyMap<string, string>;
  /** The strings of the exec form; null for the shell form. */
  readonly exec: readonly string[] | null;
  /** What follows the keyword and its flags, continued lines and heredocs included. */
  readonly text: string;
  /** Of ENV, ARG and LABEL. */
  readonly settings: readonly Setting[];
}

/** A FROM and what follows it. */
export interface Stage {
  readonly line: number;
  /** The image, or the name of an earlier stage. */
  readonly base: Word;
  /** What follows FROM and its flags. */
  readonly words: readonly Word[];
  /** `AS name`, or null. */
  readonly name: string | null;
  readonly steps: readonly Step[];
}

export interface Dockerfile {
  /** What stands before the first FROM. */
  readonly head: readonly Step[];
  readonly stages: readonly Stage[];
  /** The backslash, unless a directive of the file says otherwise. */
  readonly escapeCharacter: string;
  /** Texts of the comments by line. */
  readonly comments: ReadonlyMap<number, string>;
}

/** Reads a Dockerfile as far as it can be understood (Docker's Dockerfile reference); what is wrong in it is the linter's to say. */
export function parseDockerfile(text: string): Dockerfile {
  const parsed = DockerfileParser.parse(text);
  const head: Step[] = [];
  const stages: (Stage & { readonly steps: Step[] })[] = [];
  for (const instruction of parsed.getInstructions()) {
    const step = readStep(instruction);
    if (step.keyword !== 'FROM') (stages.at(-1)?.steps ?? head).push(step);
    else {
      const [base = { text: '', line: step.line, isOpen: false }] = step.words;
      stages.push({ line: step.line, base, words: step.words, name: (instruction as From).getBuildStage(), steps: [] });
    }
  }
  const comments = new Map(parsed.getComments().map((comment) => [comment.getRange().start.line + 1, comment.getContent()]));
  return { head, stages, escapeCharacter: parsed.getEscapeCharacter(), comments };
}

function readStep(instruction: Instruction): Step {
  const keyword = instruction.getKeyword().toUpperCase();
  const line = instruction.getInstructionRange().start.line + 1;
  const text = instruction.getArgumentsContent() ?? '';
  const exec = readExec(text);
  return {
    keyword,
    line,
    words: exec?.map((word) => ({ text: word, line, isOpen: word.includes('$') })) ?? readWords(instruction),
    flags: readFlags(instruction),
    exec,
    text,
    settings: ['ENV', 'ARG', 'LABEL'].includes(keyword) ? readSettings(instruction as PropertyInstruction) : [],
  };
}

/** The exec form is JSON, or it is the shell form. */
function readExec(text: string): readonly string[] | null {
  if (!text.trimStart().startsWith('[')) return null;
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) && value.every((word) => typeof word === 'string') ? value : null;
  } catch {
    return null;
  }
}

function readWords(instruction: Instruction): readonly Word[] {
  return instruction.getExpandedArguments().map((argument) => {
    const text = argument.getValue();
    return { text: text.replace(/^(["'])(.*)\1$/, '$2'), line: argument.getRange().start.line + 1, isOpen: text.includes('$') };
  });
}

function readFlags(instruction: Instruction): ReadonlyMap<string, string> {
  const flags = 'getFlags' in instruction ? (instruction as Copy).getFlags() : [];
  return new Map(flags.map((flag) => [flag.getName(), flag.getValue() ?? '']));
}

function readSettings(instruction: PropertyInstruction): readonly Setting[] {
  return instruction.getProperties().map((property) => ({
    name: property.getName(),
    value: property.getValue(),
    raw: property.getUnescapedValue() ?? '',
    line: property.getRange().start.line + 1,
  }));
}
