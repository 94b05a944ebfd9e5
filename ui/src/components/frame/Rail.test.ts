import { flushSync, mount, unmount } from 'svelte';
import { expect, it, vi } from 'vitest';
import { ids } from '../../lib/testids';
import Rail from './Rail.svelte';

const model = {
  name: 'mini',
  device: 'cpu',
  precision: 'f32',
  baseHash: 'b'.repeat(64),
  adapterHash: 'a'.repeat(64),
};
const app = { place: 'chat', theme: 'system', zoom: 100, status: { model }, refreshStatus: () => {} };
vi.mock('../../lib/app.svelte', async (original) => ({ ...(await original<object>()), useApp: () => app }));
vi.mock('../views/places', () => ({ views: new Proxy({}, { get: () => ({ icon: 'chat', id: 'x' }) }) }));

it('has the whole hashes of base and adapter in the chip, to be copied', () => {
  const rail = mount(Rail, { target: document.body });
  flushSync();
  const found = [...document.querySelectorAll(`[data-testid=${ids.hash}]`)];
  expect(found.map((button) => button.getAttribute('title'))).toEqual([model.baseHash, model.adapterHash]);
  void unmount(rail);
});
