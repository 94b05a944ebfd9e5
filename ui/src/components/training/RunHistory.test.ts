import { flushSync, mount, unmount } from 'svelte';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { RunDeletion } from '../../lib/ipc/bindings/RunDeletion';
import type { RunSummary } from '../../lib/ipc/bindings/RunSummary';
import type { Client } from '../../lib/ipc/client';
import { ids } from '../../lib/testids';
import type { RunWatch } from '../../lib/training/watch.svelte';
import RunHistory from './RunHistory.svelte';

const runs = [
  { id: 'a', characterId: 'dot', characterName: 'Dot', kind: 'sft', status: 'finished', createdMs: 1e12 },
  { id: 'x', characterId: 'lotte', kind: 'sft', status: 'running', createdMs: 1e12 },
] as RunSummary[];
const runDeletion = vi.fn<Client['runDeletion']>();
const complain = vi.fn();
const tell = vi.fn<(text: string, undo?: () => Promise<void>) => void>();
const app = vi.hoisted(() => ({ current: {} }));
vi.mock('../../lib/app.svelte', () => ({ useApp: () => app.current }));

const undo = vi.fn(() => Promise.resolve());
const remove = vi.fn<RunWatch['remove']>(() => Promise.resolve(undo));
const changed = vi.fn(() => Promise.resolve());
let history: ReturnType<typeof mount>;

const find = (id: string) => document.querySelector<HTMLElement>(`[data-testid=${id}]`);

beforeEach(() => {
  vi.clearAllMocks();
  HTMLDialogElement.prototype.showModal = () => {};
  const attempt = (work: () => Promise<void>) => work().catch(complain);
  app.current = { client: { runDeletion }, attempt, tell };
  const watch = { runs, shown: null, remove } as unknown as RunWatch;
  history = mount(RunHistory, { target: document.body, props: { watch, characterId: 'dot', changed } });
});
afterEach(() => unmount(history));

it('asks with what it means, deletes, and offers to take that back', async () => {
  const deletion: RunDeletion = { sizeBytes: 2e6, isInUse: true, fallsBackTo: null };
  runDeletion.mockResolvedValueOnce(deletion);
  expect(document.querySelectorAll(`[data-testid=${ids.runItem}]`)).toHaveLength(1);
  find(ids.runDelete)?.click();
  await vi.waitFor(() => {
    flushSync();
    expect(find(ids.confirm)?.textContent).toContain('bare base model');
  });
  expect(find(ids.confirm)?.textContent).toContain('2 MB');
  expect(remove).not.toHaveBeenCalled();
  find(ids.confirmAct)?.click();
  await vi.waitFor(() => expect(changed).toHaveBeenCalledOnce());
  expect(remove).toHaveBeenCalledWith(runs[0]);
  await tell.mock.calls[0]?.[1]?.();
  expect(undo).toHaveBeenCalledOnce();
  expect(changed).toHaveBeenCalledTimes(2);
});

it('says why it refuses, and asks nothing', async () => {
  const refusal = { code: 'busy', cause: 'stillOn', message: 'on', hint: '', values: {} };
  runDeletion.mockRejectedValueOnce(refusal);
  find(ids.runDelete)?.click();
  await vi.waitFor(() => expect(complain).toHaveBeenCalledWith(refusal));
  flushSync();
  expect(find(ids.confirm)).toBeNull();
});
