import { flushSync, mount, unmount } from 'svelte';
import { expect, it, vi } from 'vitest';
import type { AppStatus } from '../../lib/ipc/bindings/AppStatus';
import { chipLines } from '../../lib/status';
import { ids } from '../../lib/testids';
import Rail from './Rail.svelte';

const adapter = { hash: 'a'.repeat(64), character: 'Marzipan', stage: 'sft', step: 300 };
const model = { name: 'mini', device: 'cpu', precision: 'f32', baseHash: 'b'.repeat(64), adapter };
const status = { model, residentMb: 512, numConnections: 0 } as AppStatus;
const app = { place: 'chat', theme: 'system', zoom: 100, status, refreshStatus: () => {} };
vi.mock('../../lib/app.svelte', async (original) => ({ ...(await original<object>()), useApp: () => app }));
vi.mock('../views/places', () => ({ views: new Proxy({}, { get: () => ({ icon: 'chat', id: 'x' }) }) }));

it('has the whole hashes of base and adapter in the chip, to be copied, and whose adapter it is', () => {
  const rail = mount(Rail, { target: document.body });
  flushSync();
  const found = [...document.querySelectorAll(`[data-testid=${ids.hash}]`)];
  expect(found.map((button) => button.getAttribute('title'))).toEqual([model.baseHash, adapter.hash]);
  expect(document.querySelector('dl')?.textContent).toContain('Marzipan, Stage 1 · step 300');
  void unmount(rail);
});

it('says without a click what is loaded, and that nothing is connected', () => {
  expect(chipLines(status)).toEqual(['CPU', 'mini', 'Marzipan', 'Stage 1', '512 MB', 'offline']);
  expect(chipLines({ ...status, model: { ...model, adapter: null }, numConnections: 2 })).toEqual([
    'CPU',
    'mini',
    '512 MB',
    '2 open',
  ]);
  // Before anything is known, and where the system does not tell.
  expect(chipLines(null)).toEqual(['CPU']);
});
