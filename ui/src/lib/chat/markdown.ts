/**
 * The little Markdown that people and models write in chats, as a tree of plain values.
 *
 * Components turn the tree into elements of their own, so no text ever becomes markup: a tag in a
 * message is shown as the characters it is made of. Links are kept as words; nothing is fetched.
 */

export type Span =
  | { kind: 'text'; text: string }
  | { kind: 'code'; text: string }
  | { kind: 'break' }
  | { kind: 'link'; text: string; url: string }
  | { kind: 'em' | 'strong' | 'strike'; spans: Span[] };

export type Block =
  | { kind: 'paragraph'; spans: Span[] }
  | { kind: 'quote'; spans: Span[] }
  | { kind: 'heading'; level: number; spans: Span[] }
  | { kind: 'list'; isOrdered: boolean; start: number; items: Span[][] }
  | { kind: 'code'; text: string }
  | { kind: 'rule' };

/** Deeper nesting is left as it was written. */
const MAX_DEPTH = 6;
const marks: [string, 'strong' | 'em' | 'strike'][] = [
  ['**', 'strong'],
  ['__', 'strong'],
  ['~~', 'strike'],
  ['*', 'em'],
  ['_', 'em'],
];
const isWord = (char: string | undefined): boolean => char !== undefined && /[\p{L}\p{N}]/u.test(char);

/** End of the stretch that `mark` opens at `from`, or -1. */
function closing(text: string, mark: string, from: number): number {
  const first = text[from + mark.length];
  if (first === undefined || /\s/.test(first)) return -1;
  // An underscore within a word is a letter.
  if (mark[0] === '_' && isWord(text[from - 1])) return -1;
  for (let at = text.indexOf(mark, from + mark.length); at >= 0; at = text.indexOf(mark, at + 1)) {
    const before = text[at - 1];
    const isDouble = mark.length === 1 && (text[at + 1] === mark || before === mark);
    const isInside = mark[0] === '_' && isWord(text[at + mark.length]);
    if (at > from + mark.length && before !== undefined && !/\s/.test(before) && !isDouble && !isInside) {
      return at;
    }
  }
  return -1;
}

export function spans(text: string, depth = 0): Span[] {
  const found: Span[] = [];
  let plain = '';
  const flush = () => {
    if (plain) found.push({ kind: 'text', text: plain });
    plain = '';
  };
  let at = 0;
  while (at < text.length) {
    const char = text[at] as string;
    if (char === '\\' && /[\\*_~`[\]#>-]/.test(text[at + 1] ?? '')) {
      plain += text[at + 1];
      at += 2;
      continue;
    }
    if (char === '\n') {
      flush();
      found.push({ kind: 'break' });
      at += 1;
      continue;
    }
    if (char === '`') {
      const end = text.indexOf('`', at + 1);
      if (end > at + 1) {
        flush();
        found.push({ kind: 'code', text: text.slice(at + 1, end) });
        at = end + 1;
        continue;
      }
    }
    if (char === '[') {
      const link = /^\[([^\]\n]+)\]\(([^()\s]+)\)/.exec(text.slice(at, at + 2000));
      if (link) {
        flush();
        found.push({ kind: 'link', text: link[1] as string, url: link[2] as string });
        at += link[0].length;
        continue;
      }
    }
    const open =
      depth < MAX_DEPTH && '*_~'.includes(char) ? marks.find(([m]) => text.startsWith(m, at)) : null;
    const end = open ? closing(text, open[0], at) : -1;
    if (open && end >= 0) {
      flush();
      found.push({ kind: open[1], spans: spans(text.slice(at + open[0].length, end), depth + 1) });
      at = end + open[0].length;
      continue;
    }
    if (open && end < 0 && open[0].length === 2) {
      // Both characters stay text: the second one must not open a stretch of its own.
      plain += open[0];
      at += 2;
      continue;
    }
    plain += char;
    at += 1;
  }
  flush();
  return found;
}

const bullet = /^\s{0,3}[-*+]\s+(.*)$/;
const numbered = /^\s{0,3}(\d{1,9})[.)]\s+(.*)$/;
const heading = /^(#{1,6})\s+(.*)$/;
const rule = /^\s{0,3}([-*_])(\s*\1){2,}\s*$/;

export function blocks(text: string): Block[] {
  const found: Block[] = [];
  const lines = text.replace(/\r\n?/g, '\n').split('\n');
  let paragraph: string[] = [];
  const flush = () => {
    if (paragraph.length > 0) found.push({ kind: 'paragraph', spans: spans(paragraph.join('\n')) });
    paragraph = [];
  };
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at] as string;
    if (line.startsWith('```')) {
      flush();
      const end = lines.findIndex((other, index) => index > at && other.startsWith('```'));
      const last = end < 0 ? lines.length : end;
      found.push({ kind: 'code', text: lines.slice(at + 1, last).join('\n') });
      at = last;
      continue;
    }
    const title = heading.exec(line);
    if (line.trim() === '') {
      flush();
    } else if (rule.test(line)) {
      flush();
      found.push({ kind: 'rule' });
    } else if (title) {
      flush();
      found.push({ kind: 'heading', level: (title[1] as string).length, spans: spans(title[2] as string) });
    } else if (/^\s{0,3}>/.test(line)) {
      flush();
      const quoted: string[] = [];
      for (; at < lines.length && /^\s{0,3}>/.test(lines[at] as string); at += 1) {
        quoted.push((lines[at] as string).replace(/^\s{0,3}>\s?/, ''));
      }
      at -= 1;
      found.push({ kind: 'quote', spans: spans(quoted.join('\n')) });
    } else if (bullet.test(line) || numbered.test(line)) {
      flush();
      const isOrdered = numbered.test(line);
      const start = isOrdered ? Number(numbered.exec(line)?.[1]) : 1;
      const items: Span[][] = [];
      const item = isOrdered ? numbered : bullet;
      for (; at < lines.length && item.test(lines[at] as string); at += 1) {
        items.push(spans(item.exec(lines[at] as string)?.[isOrdered ? 2 : 1] ?? ''));
      }
      at -= 1;
      found.push({ kind: 'list', isOrdered, start, items });
    } else {
      paragraph.push(line);
    }
  }
  flush();
  return found;
}
