import { expect, it } from 'vitest';
import type { TreeNode } from '../ipc/bindings/TreeNode';
import { rows } from './tree';

const node = (id: string, parentId: string | null): TreeNode => ({
  id,
  parentId,
  isUser: false,
  snippet: id,
  hasPicture: false,
  isPinned: false,
});

it('lists branches beside the line they leave', () => {
  const nodes = [node('a', null), node('b', 'a'), node('c', 'b'), node('b2', 'a'), node('d', 'b2')];
  const found = rows(nodes, new Set(['a', 'b2', 'd']));
  expect(found.map((row) => `${row.node.id}${row.lane}${row.isShown ? '!' : ''}`)).toEqual([
    'a0!',
    'b21!',
    'd1!',
    'b0',
    'c0',
  ]);
  expect(found[0]?.numBranches).toBe(2);
});

it('goes as deep as a chat does', () => {
  const nodes = Array.from({ length: 10_000 }, (_, index) => node(`${index}`, index ? `${index - 1}` : null));
  expect(rows(nodes, new Set()).length).toBe(10_000);
});
