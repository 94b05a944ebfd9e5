/** A word-by-word difference of two texts. */

export type Piece = { kind: 'same' | 'gone' | 'new'; text: string };

/** Beyond this many pairs of words the texts are shown whole, one after the other. */
const MAX_PAIRS = 400_000;

const words = (text: string): string[] => text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? [];

function push(pieces: Piece[], kind: Piece['kind'], text: string): void {
  const last = pieces.at(-1);
  if (last?.kind === kind) last.text += text;
  else if (text !== '') pieces.push({ kind, text });
}

/** Longest common subsequence lengths of the tails of `a` and `b`. */
function table(a: string[], b: string[]): Uint32Array[] {
  const rows = Array.from({ length: a.length + 1 }, () => new Uint32Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    const [row, below] = [rows[i] as Uint32Array, rows[i + 1] as Uint32Array];
    for (let j = b.length - 1; j >= 0; j--) {
      row[j] = a[i] === b[j] ? (below[j + 1] ?? 0) + 1 : Math.max(below[j] ?? 0, row[j + 1] ?? 0);
    }
  }
  return rows;
}

export function diff(before: string, after: string): Piece[] {
  const [a, b] = [words(before), words(after)];
  const pieces: Piece[] = [];
  if (a.length * b.length > MAX_PAIRS) {
    push(pieces, 'gone', before);
    push(pieces, 'new', after);
    return pieces;
  }
  const rows = table(a, b);
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      push(pieces, 'same', a[i] ?? '');
      i += 1;
      j += 1;
    } else if (i < a.length && (j >= b.length || (rows[i + 1]?.[j] ?? 0) >= (rows[i]?.[j + 1] ?? 0))) {
      push(pieces, 'gone', a[i] ?? '');
      i += 1;
    } else {
      push(pieces, 'new', b[j] ?? '');
      j += 1;
    }
  }
  return pieces;
}
