import { createRawSnippet, mount, unmount } from 'svelte';
import { expect, it, vi } from 'vitest';
import type { Client } from '../../lib/ipc/client';
import CurveCard from './CurveCard.svelte';

const saveRunCsv = vi.fn<Client['saveRunCsv']>();
const tell = vi.fn<(text: string) => void>();
const attempt = vi.hoisted(() => (work: () => Promise<void>) => work());
const app = vi.hoisted(() => ({ current: {} }));
vi.mock('../../lib/app.svelte', () => ({ useApp: () => app.current }));

it('says where the curves were saved, and nothing when they were not', async () => {
  app.current = { client: { saveRunCsv }, tell, attempt };
  const empty = createRawSnippet(() => ({ render: () => '<i></i>' }));
  const words = { title: 'Loss', testid: 'x', runId: 'r', unit: 'steps', note: '' };
  const props = { ...words, smoothing: 0, columns: [], isEmpty: false, verdict: empty, plots: empty };
  const card = mount(CurveCard, { target: document.body, props });
  const save = [...document.querySelectorAll('button')].find((button) => button.textContent.includes('CSV'));
  saveRunCsv.mockResolvedValueOnce(null);
  save?.click();
  await vi.waitFor(() => expect(saveRunCsv).toHaveBeenCalledWith('r'));
  expect(tell).not.toHaveBeenCalled();
  saveRunCsv.mockResolvedValueOnce('/home/ines/losses.csv');
  save?.click();
  await vi.waitFor(() => expect(tell).toHaveBeenCalledWith('Saved: /home/ines/losses.csv'));
  void unmount(card);
});
