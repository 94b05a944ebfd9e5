/** Finding commands by a few letters. */

export type Command = { id: string; title: string; group: string; hint?: string; run: () => unknown };

/**
 * How well `words` fit a title: every word must occur, letter by letter in order at the least.
 * Higher is better, null is no match. Starts of words count most, then whole stretches.
 */
export function score(title: string, words: string): number | null {
  const text = title.toLowerCase();
  let total = 0;
  for (const word of words.toLowerCase().split(/\s+/).filter(Boolean)) {
    const at = text.indexOf(word);
    if (at >= 0) {
      const startsWord = at === 0 || !/[\p{L}\p{N}]/u.test(text[at - 1] as string);
      total += startsWord ? 100 - Math.min(at, 50) : 40;
      continue;
    }
    let from = 0;
    for (const letter of word) {
      const next = text.indexOf(letter, from);
      if (next < 0) return null;
      from = next + 1;
    }
    total += 10;
  }
  return total;
}

/** Commands that fit, best first; in their own order when nothing is typed. */
export function matching(commands: Command[], words: string, limit = 60): Command[] {
  if (!words.trim()) return commands.slice(0, limit);
  return commands
    .map((command, index) => ({ command, index, fit: score(command.title, words) }))
    .filter((found): found is typeof found & { fit: number } => found.fit !== null)
    .sort((a, b) => b.fit - a.fit || a.index - b.index)
    .slice(0, limit)
    .map((found) => found.command);
}
