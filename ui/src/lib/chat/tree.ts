/** The tree of a chat as rows to be listed: one row a message, branches indented. */
import type { TreeNode } from '../ipc/bindings/TreeNode';

export type TreeRow = { node: TreeNode; lane: number; isShown: boolean; numBranches: number };

/**
 * Rows in reading order. The oldest continuation stays in the lane of its message; each further one
 * starts a lane of its own. `shown` are the ids of the thread on the screen.
 */
export function rows(nodes: TreeNode[], shown: ReadonlySet<string>): TreeRow[] {
  const children = new Map<string | null, TreeNode[]>();
  for (const node of nodes) {
    const siblings = children.get(node.parentId);
    if (siblings) siblings.push(node);
    else children.set(node.parentId, [node]);
  }
  const found: TreeRow[] = [];
  // A stack instead of recursion: threads are thousands of messages deep.
  const roots = children.get(null) ?? [];
  const open = roots.map((node, index) => ({ node, lane: index })).reverse();
  for (let next = open.pop(); next; next = open.pop()) {
    const { node, lane } = next;
    const below = children.get(node.id) ?? [];
    found.push({ node, lane, isShown: shown.has(node.id), numBranches: below.length });
    // Pushed so that side branches come right after their message, the main line last.
    const [main, ...side] = below;
    if (main) open.push({ node: main, lane });
    for (const branch of side.reverse()) open.push({ node: branch, lane: lane + 1 });
  }
  return found;
}
