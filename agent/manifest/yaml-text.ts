// The text of a manifest before YAML looks at it: bytes to text, text to documents, offsets to lines, and the parser's
// complaints in words that say what to do.

export interface YamlProblem {
  readonly line?: number;
  readonly message: string;
}

export const manifestLimitBytes = 3 * 1024 * 1024;

export function explainSize(length: number): string {
  return `the file has ${length} bytes, more than the limit of ${manifestLimitBytes}; split it`;
}

export function decodeText(input: Uint8Array | string): string | YamlProblem {
  const length = typeof input === 'string' ? Buffer.byteLength(input) : input.length;
  if (length > manifestLimitBytes) return { message: explainSize(length) };
  if (typeof input === 'string') return checkText(input.replace(/^\uFEFF/, ''));
  if ((input[0] === 0xff && input[1] === 0xfe) || (input[0] === 0xfe && input[1] === 0xff)) {
    return { message: 'the file is UTF-16; save it as UTF-8' };
  }
  try {
    return checkText(new TextDecoder('utf-8', { fatal: true }).decode(input));
  } catch {
    return { message: 'the file is not UTF-8 text' };
  }
}

function checkText(text: string): string | YamlProblem {
  // What YAML 1.2 section 5.1 excludes.
  const at = text.search(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/);
  if (at < 0) return text;
  const code = text.charCodeAt(at).toString(16).padStart(2, '0');
  return { line: lineCounter(text)(at), message: `the file holds a control character (0x${code}); it is not a text file, or was damaged` };
}

export interface Piece {
  readonly text: string;
  /** Line of the piece's first character in the file. */
  readonly line: number;
}

// "---" at the start of a line ends a document whatever stands around it (YAML 1.2 section 9.1.2), so each document
// can be read alone, and a syntax error stays within its own.
export function splitDocuments(text: string): Piece[] {
  const lineAt = lineCounter(text);
  const starts = [0, ...[...text.matchAll(/^---(?=[ \t\r\n]|$)/gm)].map((match) => match.index)];
  const pieces: Piece[] = [];
  let from = 0;
  for (const [index, start] of starts.entries()) {
    const end = starts[index + 1] ?? text.length;
    // Directives (%YAML) belong to the document after the marker.
    const onlyDirectives = /^(?:\s*(?:[%#].*)?(?:\r\n?|\n|$))*$/.test(text.slice(start, end)) && /^%/m.test(text.slice(start, end));
    if (onlyDirectives && end < text.length) continue;
    pieces.push({ text: text.slice(from, end), line: lineAt(from) });
    from = end;
  }
  return pieces;
}

/** Offset to line, counting from 1; CR, LF and CRLF end a line. */
export function lineCounter(text: string): (offset: number) => number {
  const starts = [0];
  for (const match of text.matchAll(/\r\n?|\n/g)) starts.push(match.index + match[0].length);
  return (offset) => {
    let low = 0;
    let high = starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((starts[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return low + 1;
  };
}

const explanations: Readonly<Record<string, string>> = {
  'tab characters must not be used in indentation': 'a tab indents this line; YAML is indented with spaces',
  'bad indentation of a mapping entry':
    'this line does not fit the mapping around it; check its indentation, and quotes and colons just before it',
  'bad indentation of a sequence entry': 'this line does not fit the list around it; check its indentation',
  'end of the stream or a document separator is expected':
    'this line does not belong to what stands before it; check its indentation, and that a space follows the colon in the line before',
  'unexpected end of the stream within a double quoted scalar': 'a double quote is not closed',
  'unexpected end of the stream within a single quoted scalar': 'a single quote is not closed',
  'unexpected end of the stream within a flow collection': 'a bracket or brace is not closed',
  'missed comma between flow collection entries': 'a comma or a closing bracket is missing',
  "expected ':' after a mapping key": 'a colon and a space are missing after this key',
  'can not read a block mapping entry; a multiline key may not be an implicit key': 'a colon and a space are missing after this key',
  'deficient indentation': 'this line is indented too little for what it continues; a bracket, brace or quote before it may be open',
  'unknown escape sequence':
    'a backslash in double quotes starts an escape that YAML does not know; use single quotes for a literal backslash',
  'expected hexadecimal character':
    'a backslash in double quotes starts an escape that is not complete; use single quotes for a literal backslash',
};

export function explainSyntax(reason: string): string {
  return explanations[reason] ?? `this is not YAML: ${reason}`;
}
