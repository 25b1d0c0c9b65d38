// YAML node to plain object against a table of objects: types are checked, unknown fields and those not yet acted on reported.
import { didYouMean, type FieldProblem, fieldOf } from './field-problem.ts';
import { isQuantity, parseQuantity } from './quantity.ts';
import type { Later, ObjectSchema } from './schema-object.ts';
import { plainValue, type YamlMapping, type YamlNode, type YamlScalar } from './yaml.ts';

export interface Vocabulary {
  readonly objects: Readonly<Record<string, ObjectSchema>>;
  /** What is said of a field that is known and not yet acted on. */
  readonly laterMessage: string;
  /** Where a field that stands in the wrong place belongs. */
  readonly homes: readonly (readonly [object: string, place: string])[];
}

/** Fields that do not fit their type are absent from the value. path: where the object stands in its document. */
export function decodeObject(
  vocabulary: Vocabulary,
  type: string,
  node: YamlMapping,
  path: string,
): { value: Record<string, unknown>; problems: readonly FieldProblem[] } {
  const decoder = new Decoder(vocabulary);
  return { value: decoder.decodeObject(node, type, path, true), problems: decoder.problems };
}

class Decoder {
  readonly problems: FieldProblem[] = [];
  private readonly vocabulary: Vocabulary;

  constructor(vocabulary: Vocabulary) {
    this.vocabulary = vocabulary;
  }

  private report(fieldPath: string, severity: FieldProblem['severity'], message: string): void {
    this.problems.push({ fieldPath, severity, message });
  }

  private mismatch(path: string, expected: string, node: YamlNode, hint?: string): undefined {
    this.report(path, 'refused', `expected ${expected}, got ${describe(node)}${hint ? `; ${hint}` : ''}`);
  }

  /** acted: false below a field that is not acted on, where saying so again would be noise. */
  decodeObject(node: YamlMapping, type: string, path: string, acted: boolean): Record<string, unknown> {
    const schema = this.vocabulary.objects[type];
    if (!schema) throw new Error(`the schema has no object ${type}`);
    const object: Record<string, unknown> = {};
    for (const [name, { value: child }] of node.entries) {
      const childPath = fieldOf(path, name);
      const later = Object.hasOwn(schema.later ?? {}, name) ? schema.later?.[name] : undefined;
      const fieldType = later?.type ?? (Object.hasOwn(schema.fields, name) ? schema.fields[name] : undefined);
      if (fieldType === undefined) {
        if (!schema.server?.includes(name))
          this.report(childPath, 'ignored', `unknown field${explainUnknown(name, type, this.vocabulary)}`);
        continue;
      }
      if (child.kind === 'scalar' && child.value === null) continue;
      const value = this.decodeValue(child, fieldType, childPath, acted && later === undefined);
      if (value === undefined) continue;
      object[name] = value;
      if (acted && later) this.reportLater(later, value, childPath);
    }
    return object;
  }

  private reportLater(later: Later, value: unknown, path: string): void {
    if (!isSet(value, later.usual)) return;
    const optional = typeof value === 'object' && value !== null && (value as { optional?: unknown }).optional === true;
    if (later.refused !== undefined && !(optional && !path.includes('.volumes['))) {
      this.report(path, 'refused', `not yet acted on, and the pod is refused because ${later.refused}`);
    } else {
      this.report(path, 'later', this.vocabulary.laterMessage);
    }
  }

  private decodeValue(node: YamlNode, type: string, path: string, acted: boolean): unknown {
    if (type.startsWith('[]')) return this.decodeList(node, type.slice(2), path, acted);
    if (type.startsWith('map[')) return this.decodeMap(node, type.slice(4, -1), path);
    if (type === 'any') return plainValue(node);
    if (Object.hasOwn(this.vocabulary.objects, type)) {
      return node.kind === 'mapping' ? this.decodeObject(node, type, path, acted) : this.mismatch(path, 'an object', node);
    }
    return node.kind === 'scalar' ? this.decodeScalar(node, type, path) : this.mismatch(path, scalarNames[type] ?? type, node);
  }

  private decodeList(node: YamlNode, type: string, path: string, acted: boolean): unknown[] | undefined {
    if (node.kind !== 'sequence') {
      const hint =
        node.kind === 'scalar' && type === 'string' ? `write it as a list: ${renderWords(node.source)}` : 'start each entry with "- "';
      return this.mismatch(path, 'a list', node, hint);
    }
    // An entry that does not fit stays as an empty one, so that the others keep their positions in messages.
    return node.items.map(
      (item, index) => this.decodeValue(item, type, `${path}[${index}]`, acted) ?? (Object.hasOwn(this.vocabulary.objects, type) ? {} : ''),
    );
  }

  private decodeMap(node: YamlNode, type: string, path: string): Record<string, unknown> | undefined {
    if (node.kind !== 'mapping') return this.mismatch(path, 'an object', node, 'write "key: value" lines');
    const map: Record<string, unknown> = {};
    for (const [key, { value: child }] of node.entries) {
      const childPath = `${path}[${key}]`;
      // As kubectl: "key:" without a value is the empty string.
      const value =
        child.kind === 'scalar' && child.value === null && type === 'string' ? '' : this.decodeValue(child, type, childPath, true);
      if (value !== undefined) Object.defineProperty(map, key, { value, enumerable: true, writable: true, configurable: true });
    }
    return map;
  }

  private decodeScalar(node: YamlScalar, type: string, path: string): unknown {
    const { value } = node;
    switch (type) {
      case 'string':
        if (typeof value === 'string') return value;
        return this.mismatch(path, 'a string', node, value === null ? 'write "" for an empty string' : 'quote it');
      case 'bool':
        if (typeof value === 'boolean') return value;
        return this.mismatch(
          path,
          'true or false',
          node,
          typeof value === 'string' && /^(true|false|yes|no)$/i.test(value) ? 'remove the quotes' : undefined,
        );
      case 'int32':
      case 'int64':
        return this.decodeInteger(node, type, path);
      case 'int-or-string':
        if (typeof value === 'string') return value;
        return typeof value === 'number' ? this.decodeInteger(node, 'int32', path) : this.mismatch(path, 'a number or a string', node);
      case 'quantity':
        return this.decodeQuantity(node, path);
      default:
        throw new Error(`the schema has no type ${type}`);
    }
  }

  private decodeInteger(node: YamlScalar, type: 'int32' | 'int64', path: string): number | undefined {
    const { value } = node;
    if (typeof value !== 'number' || !Number.isInteger(value)) {
      const quoted = typeof value === 'string' && /^[-+]?\d+$/.test(value);
      return this.mismatch(path, 'an integer', node, quoted ? 'remove the quotes' : undefined);
    }
    if (type === 'int32' && (value < -(2 ** 31) || value >= 2 ** 31)) return this.mismatch(path, 'an integer of 32 bits', node);
    return value;
  }

  private decodeQuantity(node: YamlScalar, path: string): string | undefined {
    const { value } = node;
    if (typeof value === 'number' && Number.isFinite(value)) return String(value);
    if (typeof value !== 'string') return this.mismatch(path, 'a quantity', node);
    if (isQuantity(value)) return value;
    try {
      return parseQuantity(value) && value;
    } catch (error) {
      this.report(path, 'refused', (error as Error).message);
      return undefined;
    }
  }
}

const scalarNames: Readonly<Record<string, string>> = {
  string: 'a string',
  bool: 'true or false',
  int32: 'an integer',
  int64: 'an integer',
  quantity: 'a quantity',
  'int-or-string': 'a number or a string',
};

/** The words that somebody meant who wrote a command as one string. */
function renderWords(text: string): string {
  return JSON.stringify(/["'`$|&;<>*?()\\]/.test(text) ? ['sh', '-c', text] : text.split(/\s+/).filter((word) => word !== ''));
}

function describe(node: YamlNode): string {
  if (node.kind === 'sequence') return 'a list';
  if (node.kind === 'mapping') return 'an object';
  const source = node.source.length > 40 ? `${node.source.slice(0, 40)}…` : node.source;
  switch (typeof node.value) {
    case 'string':
      return `a string (${JSON.stringify(source)})`;
    case 'number':
      return `a number (${source})`;
    case 'boolean':
      return `a boolean (${source})`;
    default:
      return 'nothing';
  }
}

function explainUnknown(name: string, type: string, { objects, homes }: Vocabulary): string {
  const schema = objects[type];
  const meant = didYouMean(name, [...Object.keys(schema?.fields ?? {}), ...Object.keys(schema?.later ?? {})]);
  if (meant) return `; did you mean ${meant}?`;
  const home = homes.find(([object]) => object !== type && Object.hasOwn({ ...objects[object]?.fields, ...objects[object]?.later }, name));
  return home ? `; it belongs in ${home[1]}` : '; remove it';
}

/** Whether a value says more than leaving the field out would. */
function isSet(value: unknown, usual: unknown): boolean {
  if (value === usual) return false;
  if (usual === true) return true;
  if (value === '' || value === false || value === 0) return false;
  return typeof value !== 'object' || value === null || Object.keys(value).length > 0;
}
