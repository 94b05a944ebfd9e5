/** What a character's prompt is made of. */
import type { Key } from '../messages/en';
import type { promptParts } from './draft';

type Part = keyof ReturnType<typeof promptParts> & Key;

/** Tokens of every part that has any, the longest first, and their sum; null until all are known. */
export function tokenRows(
  parts: Record<Part, string>,
  of: (text: string) => number | null,
): { parts: { part: Part; numTokens: number }[]; total: number } | null {
  const rows = (Object.keys(parts) as Part[]).map((part) => ({ part, numTokens: of(parts[part]) }));
  const known = rows.flatMap(({ part, numTokens }) => (numTokens === null ? [] : [{ part, numTokens }]));
  if (known.length < rows.length) return null;
  const used = known.filter((row) => row.numTokens > 0).sort((a, b) => b.numTokens - a.numTokens);
  return { parts: used, total: used.reduce((sum, row) => sum + row.numTokens, 0) };
}
