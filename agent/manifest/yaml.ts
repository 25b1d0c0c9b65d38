// Text to YAML documents: every value knows its line, every problem its document, and one bad document leaves the others whole.
// The tokens are js-yaml's; what they mean (scalars, merge keys, duplicates, limits) is decided here.
import {
  DUMP_SCHEMA,
  dump,
  EVENT_ID,
  type Event,
  getScalarValue,
  parseEvents,
  SCALAR_STYLE,
  type ScalarEvent,
  YAMLException,
} from 'js-yaml';
import { isTooLarge, resolveScalar, resolveTagged, type Scalar } from './scalar.ts';
import { decodeText, explainSyntax, lineCounter, type Piece, splitDocuments, type YamlProblem } from './yaml-text.ts';

export interface YamlScalar {
  readonly kind: 'scalar';
  readonly line: number;
  readonly value: Scalar;
  /** As written, without quotes. */
  readonly source: string;
}

export interface YamlSequence {
  readonly kind: 'sequence';
  readonly line: number;
  readonly items: readonly YamlNode[];
}

export interface YamlMapping {
  readonly kind: 'mapping';
  readonly line: number;
  readonly entries: ReadonlyMap<string, YamlEntry>;
}

export interface YamlEntry {
  /** Of the key. */
  readonly line: number;
  readonly value: YamlNode;
}

export type YamlNode = YamlScalar | YamlSequence | YamlMapping;

export interface YamlDocument {
  /** Counts from 1 over the documents that are not empty. */
  readonly document: number;
  readonly line: number;
  /** Absent when a problem kept it from being read. */
  readonly root?: YamlNode;
  readonly problems: readonly YamlProblem[];
}

const aliasedNodesLimit = 100_000;

/** Throws nothing: what cannot be read is a problem of its document. */
export function parseYaml(input: Uint8Array | string): YamlDocument[] {
  const text = decodeText(input);
  if (typeof text !== 'string') return [{ document: 1, line: text.line ?? 1, problems: [text] }];
  const documents: YamlDocument[] = [];
  for (const piece of splitDocuments(text)) {
    for (const read of readPiece(piece)) documents.push({ document: documents.length + 1, ...read });
  }
  return documents;
}

/** YAML for people and for kubectl: strings that any YAML version would read as something else are quoted. */
export function renderYaml(value: unknown): string {
  return dump(value, { schema: DUMP_SCHEMA, noRefs: true, lineWidth: -1, skipInvalid: true, seqNoIndent: true });
}

type Read = Omit<YamlDocument, 'document'>;

function readPiece({ text, line }: Piece): Read[] {
  const lineInPiece = lineCounter(text);
  const lineAt = (offset: number) => line + lineInPiece(offset) - 1;
  let events: Event[];
  try {
    events = parseEvents(text, { maxDepth: 100 });
  } catch (error) {
    if (!(error instanceof YAMLException)) throw error;
    const at = lineAt(error.mark?.position ?? 0);
    return [{ line, problems: [{ line: at, message: explainSyntax(error.reason) }] }];
  }
  const reads: Read[] = [];
  const construction = new Construction(text, events, lineAt);
  while (!construction.atEnd()) {
    const read = construction.readDocument();
    if (read) reads.push(read);
  }
  return reads;
}

interface Anchored {
  /** Absent while the node is still being read: an alias to it would contain itself. */
  node?: YamlNode;
  size: number;
}

interface Sized {
  readonly node: YamlNode;
  /** Nodes in it, aliases counted in full. */
  readonly size: number;
}

/** Walks the events once; identity and state live as long as one piece is read. */
class Construction {
  private readonly text: string;
  private readonly events: readonly Event[];
  private readonly lineAt: (offset: number) => number;
  private index = 0;
  private offset = 0;
  private anchors = new Map<string, Anchored>();
  private problems: YamlProblem[] = [];
  private aliasedNodes = 0;

  constructor(text: string, events: readonly Event[], lineAt: (offset: number) => number) {
    this.text = text;
    this.events = events;
    this.lineAt = lineAt;
  }

  atEnd(): boolean {
    return this.index >= this.events.length;
  }

  /** Undefined for a document without content. */
  readDocument(): Read | undefined {
    this.anchors = new Map();
    this.problems = [];
    this.aliasedNodes = 0;
    this.index++;
    let root: YamlNode | undefined;
    while (this.peek().type !== EVENT_ID.POP) root = this.readNode().node;
    this.index++;
    if (root === undefined || (root.kind === 'scalar' && root.value === null)) {
      return this.problems.length === 0 ? undefined : { line: this.lineAt(this.offset), problems: this.problems };
    }
    return this.problems.length === 0 ? { line: root.line, root, problems: [] } : { line: root.line, root, problems: this.problems };
  }

  private peek(): Event {
    const event = this.events[this.index];
    if (!event) throw new Error('the YAML event stream ends within a document');
    return event;
  }

  private report(line: number, message: string): void {
    this.problems.push({ line, message });
  }

  private readNode(): Sized {
    const event = this.peek();
    this.index++;
    if (event.type === EVENT_ID.ALIAS) return this.readAlias(this.text.slice(event.anchorStart, event.anchorEnd), event.anchorStart);
    if (event.type !== EVENT_ID.SCALAR && event.type !== EVENT_ID.SEQUENCE && event.type !== EVENT_ID.MAPPING) {
      throw new Error(`the YAML event stream holds event ${event.type} within a document`);
    }
    const start = event.type === EVENT_ID.SCALAR ? event.valueStart : event.start;
    this.offset = Math.max(this.offset, start, event.anchorStart, event.tagStart);
    const line = this.lineAt(start >= 0 ? start : this.offset);
    const tag = event.tagStart < 0 ? '' : this.text.slice(event.tagStart, event.tagEnd);
    const anchored: Anchored = { size: 1 };
    if (event.anchorStart >= 0) this.anchors.set(this.text.slice(event.anchorStart, event.anchorEnd), anchored);
    const sized =
      event.type === EVENT_ID.SCALAR ? { node: this.readScalar(event, line, tag), size: 1 } : this.readCollection(event.type, line, tag);
    anchored.node = sized.node;
    anchored.size = sized.size;
    return sized;
  }

  private readAlias(name: string, offset: number): Sized {
    this.offset = Math.max(this.offset, offset);
    const line = this.lineAt(offset);
    const anchored = this.anchors.get(name);
    const nothing: Sized = { node: { kind: 'scalar', line, value: null, source: '' }, size: 1 };
    if (!anchored) {
      this.report(line, `alias *${name} has no anchor &${name} before it in this document`);
      return nothing;
    }
    if (!anchored.node) {
      this.report(line, `alias *${name} stands inside the value that it names`);
      return nothing;
    }
    if (this.aliasedNodes > aliasedNodesLimit) return nothing;
    this.aliasedNodes += anchored.size;
    if (this.aliasedNodes > aliasedNodesLimit) {
      this.report(line, `aliases repeat more than ${aliasedNodesLimit} values; write the document without so many`);
      return nothing;
    }
    return { node: anchored.node, size: anchored.size };
  }

  private readScalar(event: ScalarEvent, line: number, rawTag: string): YamlScalar {
    const source = getScalarValue(this.text, event);
    const plain = event.style === SCALAR_STYLE.PLAIN;
    const tag = coreTag(rawTag);
    let value = rawTag === '' ? (plain ? resolveScalar(source) : source) : rawTag === '!' ? source : resolveTagged(source, tag ?? '');
    if (value === undefined) {
      this.report(
        line,
        tag === undefined ? `tag ${rawTag} is not one of YAML's own; remove it` : `${source} does not fit its tag ${rawTag}`,
      );
      value = source;
    }
    if (isTooLarge(value)) {
      this.report(line, `${value.tooLarge} is beyond 2^53, where numbers lose digits; quote it`);
      value = source;
    }
    return { kind: 'scalar', line, value, source };
  }

  private readCollection(type: typeof EVENT_ID.SEQUENCE | typeof EVENT_ID.MAPPING, line: number, tag: string): Sized {
    const expected = type === EVENT_ID.SEQUENCE ? 'seq' : 'map';
    if (tag !== '' && tag !== '!' && coreTag(tag) !== expected) this.report(line, `tag ${tag} does not fit here; remove it`);
    return type === EVENT_ID.SEQUENCE ? this.readSequence(line) : this.readMapping(line);
  }

  private readSequence(line: number): Sized {
    const items: YamlNode[] = [];
    let size = 1;
    while (this.peek().type !== EVENT_ID.POP) {
      const item = this.readNode();
      items.push(item.node);
      size += item.size;
    }
    this.index++;
    return { node: { kind: 'sequence', line, items }, size };
  }

  private readMapping(line: number): Sized {
    const entries = new Map<string, YamlEntry>();
    const merges: YamlNode[] = [];
    let size = 1;
    while (this.peek().type !== EVENT_ID.POP) {
      const keyEvent = this.peek();
      const isMerge =
        keyEvent.type === EVENT_ID.SCALAR && keyEvent.style === SCALAR_STYLE.PLAIN && getScalarValue(this.text, keyEvent) === '<<';
      const keyNode = this.readNode().node;
      const value = this.readNode();
      size += 1 + value.size;
      if (isMerge) {
        merges.push(value.node);
        continue;
      }
      const key = this.readKey(keyNode, value.node.line);
      if (key === undefined) continue;
      const earlier = entries.get(key);
      if (earlier) this.report(keyNode.line, `key ${key} is given twice, first in line ${earlier.line}; keep one of them`);
      else entries.set(key, { line: keyNode.line, value: value.node });
    }
    this.index++;
    for (const merge of merges) this.mergeInto(entries, merge);
    return { node: { kind: 'mapping', line, entries }, size };
  }

  private readKey(node: YamlNode, valueLine: number): string | undefined {
    if (node.kind === 'scalar' && node.value !== null) return String(node.value);
    // An absent key has no position of its own.
    if (node.kind === 'scalar') this.report(valueLine, 'a key is missing before the colon');
    else this.report(node.line, `a ${node.kind} cannot be a key here`);
    return undefined;
  }

  // A key of the mapping itself wins over a merged one, an earlier merged mapping over a later one.
  private mergeInto(entries: Map<string, YamlEntry>, merge: YamlNode): void {
    for (const source of merge.kind === 'sequence' ? merge.items : [merge]) {
      if (source.kind !== 'mapping') {
        this.report(source.line, '<< takes a mapping, or a list of mappings');
        continue;
      }
      for (const [key, entry] of source.entries) if (!entries.has(key)) entries.set(key, entry);
    }
  }
}

/** "str" for `!!str` and `!<tag:yaml.org,2002:str>`. */
function coreTag(tag: string): string | undefined {
  return /^!!(\w+)$/.exec(tag)?.[1] ?? /^!<tag:yaml\.org,2002:(\w+)>$/.exec(tag)?.[1];
}

/** The plain value of a node, for fields whose content is not described any further. */
export function plainValue(node: YamlNode): unknown {
  switch (node.kind) {
    case 'scalar':
      return node.value;
    case 'sequence':
      return node.items.map(plainValue);
    case 'mapping':
      return Object.fromEntries([...node.entries].map(([key, { value }]) => [key, plainValue(value)]));
  }
}

/** The line of "spec.containers[0].image", or of the nearest thing around it that is there. */
export function lineOf(root: YamlNode | undefined, fieldPath: string): number | undefined {
  let node = root;
  let line = root?.line;
  for (const step of fieldPath.matchAll(/\[([^\]]*)\]|([^.[]+)/g)) {
    const key = step[1] ?? step[2] ?? '';
    if (node?.kind === 'sequence') {
      node = node.items[Number(key)];
      line = node?.line ?? line;
    } else if (node?.kind === 'mapping') {
      const entry = node.entries.get(key);
      node = entry?.value;
      line = entry?.line ?? line;
    } else {
      break;
    }
    if (node === undefined) break;
  }
  return line;
}
