import { expect, it } from 'vitest';
import { emptyDraft, promptParts } from './draft';
import { tokenRows } from './summary';

const parts = promptParts({ ...emptyDraft, persona: 'a b c', greeting: 'a', catchphrases: ['a', 'b'] });
const words = (text: string) => text.split(' ').filter(Boolean).length;

it('names what a prompt begins with, the longest first', () => {
  expect(tokenRows(parts, words)).toEqual({
    parts: [
      { part: 'persona', numTokens: 3 },
      { part: 'catchphrases', numTokens: 2 },
      { part: 'greeting', numTokens: 1 },
    ],
    total: 6,
  });
});

it('waits until every part is counted', () => {
  expect(tokenRows(parts, (text) => (text === 'a b c' ? null : words(text)))).toBeNull();
});
