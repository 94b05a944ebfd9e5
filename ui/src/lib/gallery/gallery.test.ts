import { describe, expect, it, vi } from 'vitest';
import { App } from '../app.svelte';
import type { DrawingEvent } from '../ipc/bindings/DrawingEvent';
import type { ExpressionSheetItem } from '../ipc/bindings/ExpressionSheetItem';
import type { GalleryFilter } from '../ipc/bindings/GalleryFilter';
import type { GalleryItem } from '../ipc/bindings/GalleryItem';
import type { Client, OnDrawingEvent } from '../ipc/client';
import { approveEach, unapproved } from './approve';
import { galleryBrowser, GalleryBrowser, PAGE } from './browser.svelte';
import { DrawingJob } from './drawing.svelte';
import { layout, position } from './layout';
import { carry } from './share';
import { teachPictures } from './teach';
import { pictureWords } from './words';

function picture(n: number): GalleryItem {
  return { id: `p${n}`, isFavourite: false, rating: null, prompt: `picture ${n}` } as GalleryItem;
}

/** A fake with `total` pictures. */
function browsing(total: number) {
  const galleryPage = vi.fn<Client['galleryPage']>((_filter, offset, limit) => {
    const count = Math.max(0, Math.min(limit, total - offset));
    return Promise.resolve({ total, items: Array.from({ length: count }, (_, i) => picture(offset + i)) });
  });
  const setFavourite = vi.fn<Client['setFavourite']>(() => Promise.resolve(null));
  const deleteGalleryPictures = vi.fn<Client['deleteGalleryPictures']>(() => Promise.resolve(null));
  const restoreGalleryPictures = vi.fn<Client['restoreGalleryPictures']>(() => Promise.resolve(null));
  const fake = { galleryPage, setFavourite, deleteGalleryPictures, restoreGalleryPictures };
  return { browser: new GalleryBrowser(fake as unknown as Client), ...fake };
}

describe('the gallery', () => {
  it('reads only the pages around what is in view', async () => {
    const { browser, galleryPage } = browsing(5000);
    await browser.reload();
    expect(browser.total).toBe(5000);
    expect(galleryPage).toHaveBeenCalledOnce();
    expect(browser.at(PAGE)).toBeUndefined();
    await browser.show(4000, 4050);
    expect(browser.at(4010)?.id).toBe('p4010');
    await browser.show(4000, 4050);
    expect(galleryPage.mock.calls.map((call) => call[1])).toEqual([0, 33 * PAGE]);
    expect(browser.indexOf('p4010')).toBe(4010);
  });

  it('is as it was left when another place was shown', async () => {
    const { browser } = browsing(3);
    await galleryBrowser(browser.client).set({ favourites: true, words: 'rain' });
    galleryBrowser(browser.client).toggle('p1');
    const again = galleryBrowser(browser.client);
    await again.reload();
    expect([again.filter.favourites, again.filter.words, ...again.selected]).toEqual([true, 'rain', 'p1']);
    expect(galleryBrowser({} as Client).filter.words, 'another window').toBe('');
  });

  it('drops the answer to an older filter', async () => {
    const { browser, galleryPage } = browsing(3);
    let answer: (value: { total: number; items: GalleryItem[] }) => void = () => {};
    galleryPage.mockReturnValueOnce(new Promise((resolve) => (answer = resolve)));
    const slow = browser.set({ words: 'rain' });
    await browser.set({ words: 'sun' });
    answer({ total: 99, items: [picture(99)] });
    await slow;
    expect(browser.total).toBe(3);
    expect(browser.at(0)?.id).toBe('p0');
    expect((galleryPage.mock.calls[1]?.[0] as GalleryFilter).words).toBe('sun');
  });

  it('shows a favourite at once and takes it back when it was not stored', async () => {
    const { browser, setFavourite } = browsing(3);
    await browser.reload();
    const item = browser.at(1) as GalleryItem;
    setFavourite.mockReturnValueOnce(Promise.reject(new Error('disk full')));
    const marking = browser.favour(item);
    expect(browser.at(1)?.isFavourite).toBe(true);
    await expect(marking).rejects.toThrow('disk full');
    expect(browser.at(1)?.isFavourite).toBe(false);
  });

  it('folds details and shows them again', async () => {
    const { browser } = browsing(3);
    await browser.reload();
    browser.fold();
    expect(browser.openId).toBe('p0');
    browser.openId = 'p2';
    browser.fold();
    expect(browser.openId).toBeNull();
    browser.fold();
    expect(browser.openId).toBe('p2');
  });

  it('removes with a way back', async () => {
    const { browser, deleteGalleryPictures, restoreGalleryPictures } = browsing(3);
    await browser.reload();
    browser.toggle('p1');
    const undo = await browser.remove(['p1']);
    expect(deleteGalleryPictures).toHaveBeenCalledWith(['p1']);
    expect(browser.selected.size).toBe(0);
    await undo();
    expect(restoreGalleryPictures).toHaveBeenCalledWith(['p1']);
  });
});

describe('the grid', () => {
  const at = { total: 5000, width: 1000, height: 600, top: 0, minCell: 150, gap: 10 };

  it('fills the width and draws only what is in view', () => {
    const grid = layout(at);
    expect(grid.columns).toBe(6); // (1000 + 10) / 160 = 6.3
    expect(grid.cell).toBeCloseTo(158.33, 2); // (1000 − 5 · 10) / 6
    expect(grid.height).toBeCloseTo(834 * (950 / 6 + 10) - 10, 3);
    expect([grid.first, grid.last]).toEqual([0, 35]); // rows 0–3 in view and two spare: 6 · 6
    expect(position(7, grid, 10).x).toBeCloseTo(168.33, 2);
  });

  it('ends with the last picture', () => {
    const grid = layout({ ...at, top: 1e6 });
    expect(grid.last).toBe(4999);
    expect(grid.first).toBeLessThanOrEqual(4999);
    expect(layout({ ...at, total: 0 }).last).toBe(-1);
  });
});

describe('a drawing job', () => {
  it('follows a batch to its end', async () => {
    const job = new DrawingJob({} as Client);
    const seen: (string | null)[] = [];
    job.onPicture = (item) => seen.push(item?.id ?? null);
    let tell: OnDrawingEvent = () => {};
    await job.start((on) => {
      tell = on;
      return Promise.resolve('job');
    });
    const step: DrawingEvent = {
      type: 'progress',
      index: 1,
      count: 4,
      label: 'calm',
      step: 5,
      numSteps: 10,
      etaSecs: 3,
      preview: null,
    };
    tell(step);
    expect(job.share).toBeCloseTo(0.375, 12); // (1 + 5/10) / 4
    tell({ type: 'phase', kind: 'preparingPicture' });
    expect(job.phase).toBe('preparingPicture');
    tell({ ...step, step: 6 });
    expect(job.phase).toBeNull();
    tell({ type: 'picture', item: picture(1), index: 1, count: 4 });
    tell({ type: 'done', numDrawn: 1, wasStopped: true });
    expect(job.isBusy).toBe(false);
    expect(seen).toEqual(['p1', null]);
  });

  it('is over when it ended before its name arrived', async () => {
    const job = new DrawingJob({} as Client);
    await job.start((on) => {
      const error = { code: 'internal', cause: null, values: {}, message: 'stumbled', hint: '' } as const;
      on({ type: 'failed', error });
      return Promise.resolve('job');
    });
    expect(job.isBusy).toBe(false);
    expect(job.error?.message).toBe('stumbled');
  });

  it('is asked for again as it was, unless a part of it was drawn', async () => {
    const job = new DrawingJob({} as Client);
    const error = { code: 'internal', cause: null, values: {}, message: 'stumbled', hint: '' } as const;
    const begin = vi.fn(() => Promise.resolve('job'));
    await job.start(begin);
    job.receive({ type: 'failed', error });
    expect(job.canRetry).toBe(true);
    await job.retry();
    expect([begin.mock.calls.length, job.error, job.isBusy]).toEqual([2, null, true]);
    job.receive({ type: 'picture', item: {} as GalleryItem, index: 0, count: 2 });
    job.receive({ type: 'failed', error });
    expect(job.canRetry).toBe(false);
  });
});

describe('pictures to learn from', () => {
  function teaching() {
    const addToTraining = vi.fn((id: string) =>
      id === 'broken'
        ? Promise.reject(new Error('damaged'))
        : Promise.resolve({ character: { id: 'dot' }, pictureId: `${id}-own`, isNew: id !== 'known' }),
    );
    const removePicture = vi.fn(() => Promise.resolve());
    const listCharacters = vi.fn(() => Promise.resolve([]));
    const app = new App({ addToTraining, removePicture, listCharacters } as unknown as Client);
    return { app, removePicture };
  }

  it('are told of once, and taken back together', async () => {
    const { app, removePicture } = teaching();
    await teachPictures(app, ['a', 'known', 'b']);
    expect(app.notices).toHaveLength(1);
    expect(app.notices[0]?.text).toContain('2 pictures');
    await app.notices[0]?.undo?.();
    expect(removePicture.mock.calls).toEqual([
      ['dot', 'a-own'],
      ['dot', 'b-own'],
    ]);
  });

  it('can be taken back as far as they were added when one fails', async () => {
    const { app, removePicture } = teaching();
    await teachPictures(app, ['a', 'broken', 'b']);
    expect(app.notices.map((notice) => notice.isError)).toEqual([true, false]);
    await app.notices[1]?.undo?.();
    expect(removePicture.mock.calls).toEqual([['dot', 'a-own']]);
  });

  it('are left alone where they are already', async () => {
    const { app } = teaching();
    await teachPictures(app, ['known']);
    expect(app.notices.map((notice) => notice.undo)).toEqual([undefined]);
  });
});

describe('a picture that is dragged', () => {
  it('is remembered until the pointer moves freely again', () => {
    const app = { carried: null } as unknown as App;
    carry(app, { picture: 'p1' });
    const move = (buttons: number) =>
      window.dispatchEvent(Object.assign(new Event('pointermove'), { buttons }));
    move(1); // the drag has not begun yet
    expect(app.carried).toEqual({ picture: 'p1' });
    move(0);
    expect(app.carried).toBeNull();
  });
});

describe('approving every expression', () => {
  const face = (name: string, ...takes: [id: string, isApproved: boolean][]): ExpressionSheetItem => ({
    name,
    prompt: '',
    pictures: takes.map(([id, isApproved]) => ({ id, isApproved }) as GalleryItem),
  });
  const sheet = [
    face('calm', ['calm-2', false], ['calm-1', true]),
    face('angry', ['angry-1', true]),
    face('sad', ['sad-1', false]),
    face('glad'),
  ];

  /** A fake that, as the studio does, keeps one approved picture of an expression. */
  function approving(failing?: string) {
    const approved = new Set(['calm-1', 'angry-1']);
    const approvePicture = vi.fn<Client['approvePicture']>((id, isApproved) => {
      if (id === failing) return Promise.reject(new Error('the disk is full'));
      const name = id.split('-')[0];
      for (const other of [...approved]) if (other.startsWith(`${name}-`)) approved.delete(other);
      if (isApproved) approved.add(id);
      return Promise.resolve(null);
    });
    return { client: { approvePicture }, approved };
  }

  it('takes the newest of each without a choice, leaves choices alone, and can be undone', async () => {
    const { client, approved } = approving();
    const chosen = unapproved([...sheet, face('shy', ['shy-2', false], ['shy-1', false])]);
    expect(chosen, 'calm-1 was chosen by hand, though calm-2 is newer').toEqual(['sad-1', 'shy-2']);
    const undo = await approveEach(client, chosen);
    expect([...approved].sort()).toEqual(['angry-1', 'calm-1', 'sad-1', 'shy-2']);
    await undo();
    expect([...approved].sort()).toEqual(['angry-1', 'calm-1']);
  });

  it('is all or nothing', async () => {
    const { client, approved } = approving('sad-1');
    await expect(approveEach(client, unapproved(sheet))).rejects.toThrow('full');
    expect([...approved].sort()).toEqual(['angry-1', 'calm-1']);
  });
});

it('says of a drawn picture what its scene tells, not how it was asked for', () => {
  const prompt =
    'Character Description: long\n\nUser Input: Hi\n\nCharacter Response: Woof!\n\nPlease generate';
  expect(pictureWords(prompt)).toBe('Woof!');
  expect(pictureWords('Dot in the rain')).toBe('Dot in the rain');
  expect([...pictureWords('é'.repeat(200))]).toHaveLength(91);
});
