import { expect, it, vi } from 'vitest';
import type { TreeNode } from '../ipc/bindings/TreeNode';
import type { Client } from '../ipc/client';
import { ChatTree, PAGE } from './tree.svelte';

/** A chat of that many messages in one line. */
function planted(total: number) {
  const chatTree = vi.fn<Client['chatTree']>((_chat, offset, limit) => {
    const count = Math.max(0, Math.min(limit, total - offset));
    const rows = Array.from({ length: count }, (_, at) => ({ id: `m${offset + at}` }) as TreeNode);
    return Promise.resolve({ rows, total, numBranches: 0, end: total - 1 });
  });
  return { tree: new ChatTree({ chatTree } as unknown as Client, 'c'), chatTree };
}

it('reads what is looked at, each page once', async () => {
  const { tree, chatTree } = planted(10_000);
  await tree.reload(9_999, 9_999);
  expect([tree.total, tree.end, tree.row(9_999)?.id]).toEqual([10_000, 9_999, 'm9999']);
  expect(tree.row(0)).toBeUndefined();
  await Promise.all([tree.show(9_890, 9_905), tree.show(9_880, 9_899), tree.show(9_950, 9_999)]);
  expect(chatTree.mock.calls.map((call) => call[1])).toEqual([9_900, 9_800]);
  expect(tree.row(9_890)?.id).toBe('m9890');
});

it('keeps what is shown while it reads anew, and drops what is older', async () => {
  const { tree, chatTree } = planted(250);
  await tree.reload(0, 0);
  let answer: (rows: Awaited<ReturnType<Client['chatTree']>>) => void = () => {};
  chatTree.mockImplementationOnce(() => new Promise((done) => (answer = done)));
  const late = tree.show(PAGE, PAGE);
  const again = tree.reload(0, 0);
  expect(tree.row(0)?.id).toBe('m0');
  await again;
  answer({ rows: [{ id: 'old' } as TreeNode], total: 7, numBranches: 3, end: 0 });
  await late;
  expect([tree.total, tree.row(PAGE)]).toEqual([250, undefined]);
});
