// Owns the maps of sparse files in tar archives: the four forms that GNU tar has written (its manual, "Storing Sparse Files").
//   old GNU   type S; four pairs in the header, 21 in each block after it
//   pax 0.0   GNU.sparse.offset and GNU.sparse.numbytes, once for each piece
//   pax 0.1   GNU.sparse.map, all pairs in one record
//   pax 1.0   decimal lines at the start of the content, padded to a block
import type { Buffer } from 'node:buffer';

export const PIECES_LIMIT = 1_000_000;

/** A piece of the file that the archive holds; all else are holes. */
export interface SparsePiece {
  readonly offset: number;
  readonly bytes: number;
}

/** Numbers in turn an offset and a length, as pieces in order. Throws on what no file can have. */
export function planSparsePieces(numbers: readonly number[], realBytes: number, storedBytes: number): SparsePiece[] {
  if (numbers.length % 2 !== 0) throw new Error('its sparse map has an offset without a length');
  if (numbers.length / 2 > PIECES_LIMIT) throw new Error(`its sparse map has more than ${PIECES_LIMIT} pieces`);
  const pieces: SparsePiece[] = [];
  let end = 0;
  let stored = 0;
  for (let i = 0; i < numbers.length; i += 2) {
    const [offset = Number.NaN, bytes = Number.NaN] = [numbers[i], numbers[i + 1]];
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(bytes) || bytes < 0 || offset < end || offset + bytes > realBytes)
      throw new Error('its sparse map has pieces that overlap or lie outside the file');
    end = offset + bytes;
    stored += bytes;
    if (bytes > 0) pieces.push({ offset, bytes });
  }
  if (stored !== storedBytes) throw new Error(`its sparse map speaks of ${stored} bytes, and the archive has ${storedBytes}`);
  return pieces;
}

/** The numbers of a text map: GNU.sparse.map of pax 0.1, separated by commas. */
export function decodeSparseList(text: string): number[] {
  if (text === '') return [];
  return text.split(',').map((digits) => (/^\d+$/.test(digits) ? Number(digits) : Number.NaN));
}

/** Collects the map of pax 1.0, block by block. */
export class SparseMapText {
  readonly #numbers: number[] = [];
  #digits = '';

  /** True once the map is whole; the rest of the block is padding. */
  push(block: Buffer): boolean {
    for (const byte of block) {
      if (byte !== 0x0a) {
        if (byte < 0x30 || byte > 0x39 || this.#digits.length > 16) throw new Error('its sparse map is not made of numbers');
        this.#digits += String.fromCharCode(byte);
        continue;
      }
      if (this.#digits === '') throw new Error('its sparse map is not made of numbers');
      this.#numbers.push(Number(this.#digits));
      this.#digits = '';
      if ((this.#numbers[0] ?? 0) > PIECES_LIMIT) throw new Error(`its sparse map has more than ${PIECES_LIMIT} pieces`);
      if (this.#numbers.length === 1 + 2 * (this.#numbers[0] ?? 0)) return true;
    }
    return false;
  }

  get numbers(): readonly number[] {
    return this.#numbers.slice(1);
  }
}
