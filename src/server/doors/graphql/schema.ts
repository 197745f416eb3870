import {
  buildSchema,
  GraphQLError,
  type GraphQLSchema,
  isScalarType,
  Kind,
  NoUnusedVariablesRule,
  type SelectionNode,
  type SelectionSetNode,
  type ValidationContext,
  type ValidationRule,
  type ValueNode,
} from 'graphql';
import { DEFINITION } from './definition.js';

/** The schema of the door. */
export function openSchema(): GraphQLSchema {
  const schema = buildSchema(DEFINITION);
  const text = schema.getType('Text');
  if (isScalarType(text)) {
    text.parseValue = readTextValue;
    text.parseLiteral = readTextLiteral;
  }
  return schema;
}

/** Strings, enum words, numbers and lists of them. The value is not told: it may be a secret. */
function readTextValue(value: unknown): string {
  if (Array.isArray(value)) return value.map(readTextValue).join(',');
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return String(value);
  throw new GraphQLError('this has to be a string or a number');
}

/** As it was written: 12.0 stays 12.0. */
function readTextLiteral(node: ValueNode): string {
  if (node.kind === Kind.LIST) return node.values.map(readTextLiteral).join(',');
  if ('value' in node && (typeof node.value === 'string' || typeof node.value === 'boolean')) return String(node.value);
  throw new GraphQLError('this has to be a string or a number', { nodes: node });
}

/** Deep enough for introspection as tools send it. */
const DEPTH = 16;

/** What an operation has to be like: as the specification says, but that RunPod's clients declare variables which they do not use. */
export function chooseRules(specified: readonly ValidationRule[]): readonly ValidationRule[] {
  return [...specified.filter((rule) => rule !== NoUnusedVariablesRule), limitDepth];
}

function limitDepth(context: ValidationContext) {
  /** Each fragment is measured once, however often it is spread. */
  const known = new Map<string, number>();
  const fragmentDepth = (name: string): number => {
    const before = known.get(name);
    if (before !== undefined) return before;
    // A fragment inside itself is another rule's to refuse.
    known.set(name, 0);
    const fragment = context.getFragment(name);
    const depth = fragment ? depthOf(fragment.selectionSet) : 0;
    known.set(name, depth);
    return depth;
  };
  const selectionDepth = (selection: SelectionNode): number => {
    if (selection.kind === Kind.FRAGMENT_SPREAD) return fragmentDepth(selection.name.value);
    const below = selection.selectionSet ? depthOf(selection.selectionSet) : 0;
    return selection.kind === Kind.FIELD ? below + 1 : below;
  };
  const depthOf = ({ selections }: SelectionSetNode): number => selections.reduce((most, each) => Math.max(most, selectionDepth(each)), 0);
  return {
    OperationDefinition: ({ selectionSet }: { readonly selectionSet: SelectionSetNode }) => {
      if (depthOf(selectionSet) > DEPTH) context.reportError(new GraphQLError(`the operation is nested more than ${DEPTH} deep`));
    },
  };
}
