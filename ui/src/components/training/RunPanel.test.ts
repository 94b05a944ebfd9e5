import { flushSync, mount, unmount } from 'svelte';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { RunDetail } from '../../lib/ipc/bindings/RunDetail';
import type { Client } from '../../lib/ipc/client';
import { ids } from '../../lib/testids';
import type { RunWatch } from '../../lib/training/watch.svelte';
import RunPanel from './RunPanel.svelte';

const client = {
  runKeeping: vi.fn<Client['runKeeping']>(() => Promise.resolve(40)),
  keepRun: vi.fn<(id: string) => Promise<void>>(() => Promise.resolve()),
  stopRun: vi.fn<Client['stopRun']>(() => Promise.resolve(null)),
};
const app = vi.hoisted(() => ({ current: {} }));
vi.mock('../../lib/app.svelte', () => ({ useApp: () => app.current }));
const again = vi.fn<(id: string | null) => Promise<void>>(() => Promise.resolve());
let panel: ReturnType<typeof mount>;
const find = (id: string) => document.querySelector<HTMLElement>(`[data-testid=${id}]`);

beforeEach(() => {
  vi.clearAllMocks();
  HTMLDialogElement.prototype.showModal = () => {};
  app.current = { client, attempt: (work: () => Promise<void>) => work() };
});
afterEach(() => unmount(panel));

function show(status: string, checkpoints: number[]) {
  const run = { id: 'a', characterName: 'Dot', kind: 'sft', status, step: 47, numSteps: 300, error: null };
  const [curve, validation, samples, notes] = [[], [], [], []];
  const shown = { run, checkpoints, curve, validation, samples, notes, refining: null, phase: null };
  const watch = { show: again } as unknown as RunWatch;
  const props = { watch, shown: shown as unknown as RunDetail, clone: () => {} };
  panel = mount(RunPanel, { target: document.body, props });
}

it.each(['paused', 'interrupted', 'failed'])(
  'says which step of a run that is %s is kept',
  async (status) => {
    show(status, [20, 40]);
    find(ids.teachKeep)?.click();
    await vi.waitFor(() => {
      flushSync();
      expect(find(ids.confirm)?.textContent).toContain('Step 40 of 300');
    });
    expect(client.keepRun).not.toHaveBeenCalled();
    find(ids.confirmAct)?.click();
    await vi.waitFor(() => expect(again).toHaveBeenCalledWith('a'));
    expect(client.keepRun).toHaveBeenCalledWith('a');
    expect(client.stopRun, 'which would throw it away').not.toHaveBeenCalled();
  },
);

it('offers nothing to keep where there is no checkpoint, or the run ends by itself', () => {
  show('paused', []);
  expect(find(ids.teachKeep)).toBeNull();
  unmount(panel);
  show('running', [20]);
  expect(find(ids.teachKeep)).toBeNull();
});
