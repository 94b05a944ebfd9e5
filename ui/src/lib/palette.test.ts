import { expect, it } from 'vitest';
import { matching, score, type Command } from './palette';

const command = (title: string): Command => ({ id: title, title, group: '', run: () => {} });

it('puts starts of words before middles before scattered letters', () => {
  const found = matching(['a carton chat', 'Teach', 'Chat', 'c-h-a-t'].map(command), 'cha');
  expect(found.map((c) => c.title)).toEqual(['Chat', 'a carton chat', 'c-h-a-t']);
  expect(matching(['New chat', 'Dark'].map(command), '')).toHaveLength(2);
});

it('wants every word, in any order', () => {
  expect(score('New chat with Marzipan', 'marz new')).not.toBeNull();
  expect(score('New chat with Marzipan', 'new otter')).toBeNull();
  expect(score('和 Marzipan 聊天', '聊天')).not.toBeNull();
});
