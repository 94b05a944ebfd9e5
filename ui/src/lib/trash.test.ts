import { afterEach, describe, expect, it, vi } from 'vitest';
import type { DeletedItem } from './ipc/bindings/DeletedItem';
import type { DeletedKind } from './ipc/bindings/DeletedKind';
import type { Client } from './ipc/client';
import { dateTime, setLanguage } from './messages/index.svelte';
import { aboutWords, daysLeft, titleOf, Trash } from './trash.svelte';

const DAY_MS = 86_400_000;
const entry = (kind: DeletedKind, part: Partial<DeletedItem> = {}): DeletedItem => ({
  kind,
  id: kind,
  title: '',
  owner: null,
  numMessages: 0,
  stage: null,
  madeMs: null,
  deletedMs: 1e12,
  sizeBytes: null,
  ...part,
});
const at = dateTime(1e12);

afterEach(() => setLanguage('en'));

describe('an entry', () => {
  it('is called by what it is', () => {
    expect(titleOf(entry('chat', { title: 'Rain' }))).toBe('Rain');
    expect(titleOf(entry('message'))).toBe('without words');
    const run = entry('run', { stage: 'grpo', owner: 'Dot', madeMs: 1e12, sizeBytes: 12e6 });
    expect(titleOf(run)).toBe(`Stage 2: refine · ${at}`);
    expect(aboutWords(run)).toBe(`Teaching run · Dot · 12 MB · deleted ${at}`);
    setLanguage('zh-Hant');
    expect(titleOf(entry('message'))).toBe('沒有文字');
  });

  it('tells how many messages come back, where that says something', () => {
    expect(aboutWords(entry('message', { owner: 'Rain', numMessages: 1 }))).toBe(
      `Message · Rain · deleted ${at}`,
    );
    expect(aboutWords(entry('message', { numMessages: 3 }))).toContain('3 messages');
    expect(aboutWords(entry('chat', { numMessages: 1 }))).toContain('1 message ·');
  });

  it('counts down days', () => {
    const item = entry('chat', { deletedMs: 0 });
    expect([0, 1, DAY_MS, 29.5 * DAY_MS, 40 * DAY_MS].map((now) => daysLeft(item, 30, now))).toEqual([
      30, 30, 29, 1, 0,
    ]);
  });
});

/** A trash of every kind, in which restoring and discarding take entries away. */
function filled() {
  let items = (['character', 'chat', 'message', 'picture', 'run', 'evaluation'] as const).map((kind) =>
    entry(kind, { sizeBytes: kind === 'run' || kind === 'picture' ? 5 : null }),
  );
  const take = (id: string) => {
    if (!items.some((item) => item.id === id)) return Promise.reject(new Error(`no ${id}`));
    items = items.filter((item) => item.id !== id);
    return Promise.resolve();
  };
  const client = {
    restoreCharacter: vi.fn(take),
    restoreChat: vi.fn(take),
    restoreMessage: vi.fn(take),
    restoreGalleryPictures: vi.fn(([id]: string[]) => take(id ?? '')),
    restoreRun: vi.fn(take),
    restoreEvaluation: vi.fn(take),
    deletedItems: vi.fn(() => Promise.resolve({ items, keptDays: 30 })),
    discardItems: vi.fn<Client['discardItems']>((gone) => {
      items = items.filter((item) => !gone.some((one) => one.id === item.id));
      return Promise.resolve(null);
    }),
  };
  return { client, trash: new Trash(client as unknown as Client) };
}

describe('the trash', () => {
  it('gives every kind back in its own way', async () => {
    const { client, trash } = filled();
    await trash.load();
    expect([trash.items.length, trash.sizeBytes, trash.hasRestored]).toEqual([6, 10, false]);
    for (const item of trash.items) await trash.restore(item);
    expect(trash.items).toEqual([]);
    expect([trash.failure, trash.hasRestored]).toEqual([null, true]);
    expect(client.restoreGalleryPictures).toHaveBeenCalledWith(['picture']);
    for (const name of ['restoreCharacter', 'restoreChat', 'restoreMessage', 'restoreRun'] as const) {
      expect(client[name], name).toHaveBeenCalledOnce();
    }
  });

  it('says why something does not come back, and what is there', async () => {
    const { client, trash } = filled();
    await trash.load();
    const run = trash.items.find((item) => item.kind === 'run') as DeletedItem;
    client.restoreRun.mockRejectedValueOnce({ message: 'Dot is not there', hint: 'Restore it first.' });
    await trash.restore(run);
    expect([trash.failure?.message, trash.said]).toEqual(['Dot is not there', '']);
    expect(trash.items.length).toBe(6);
    await trash.restore(run);
    expect([trash.failure, trash.items.length]).toEqual([null, 5]);
  });

  it('discards what it showed, and no more', async () => {
    const { client, trash } = filled();
    await trash.load();
    const shown = trash.items.slice(0, 2);
    await trash.discard(shown);
    expect(client.discardItems).toHaveBeenCalledWith([
      { kind: 'character', id: 'character' },
      { kind: 'chat', id: 'chat' },
    ]);
    expect([trash.items.length, trash.said, trash.hasRestored]).toEqual([
      4,
      '2 things deleted for good',
      false,
    ]);
  });
});
