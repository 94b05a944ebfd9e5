import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { FindingItem } from '../ipc/bindings/FindingItem';
import type { PictureItem } from '../ipc/bindings/PictureItem';
import type { Client } from '../ipc/client';
import { bulk, named } from './bulk';
import { around, centre, fromHex, hex, placed, within, zoomed } from './crop';
import { diff } from './diff';
import { readiness, withoutLostPictures } from './readiness';
import { TokenCounter } from './tokens.svelte';

const picture = (id: string, caption: string): PictureItem => ({
  id,
  caption,
  expression: '',
  isHeldOut: false,
  crop: null,
});

describe('captions in bulk', () => {
  const pictures = [picture('a', 'Dot asleep'), picture('b', 'a snail'), picture('c', '')];

  it('alters only what changes', () => {
    const after = bulk(pictures, { kind: 'prefix', text: 'Dot' });
    expect(after.map((p) => [p.id, p.caption])).toEqual([
      ['b', 'Dot, a snail'],
      ['c', 'Dot'],
    ]);
    expect(bulk(pictures, { kind: 'replace', find: 'snail', text: 'slug' })).toEqual([
      picture('b', 'a slug'),
    ]);
    expect(bulk(pictures, { kind: 'replace', find: '', text: 'x' })).toEqual([]);
    expect(bulk(pictures, { kind: 'heldOut', value: false })).toEqual([]);
  });

  it('names the character where a caption does not', () => {
    expect(named(pictures, 'Dot').map((p) => p.caption)).toEqual(['Dot, a snail']);
  });
});

describe('a difference', () => {
  const spell = (a: string, b: string) =>
    diff(a, b)
      .map((p) => ({ same: p.text, gone: `[-${p.text}]`, new: `[+${p.text}]` })[p.kind])
      .join('');

  it('marks words', () => {
    expect(spell('A slow snail.', 'A fast snail.')).toBe('A [-slow][+fast] snail.');
    expect(spell('', 'new')).toBe('[+new]');
    expect(spell('same', 'same')).toBe('same');
  });

  it('gives both texts back', () => {
    const [a, b] = ['One two, three four.', 'Two three: four five one.'];
    const pieces = diff(a, b);
    const text = (without: string) =>
      pieces
        .filter((p) => p.kind !== without)
        .map((p) => p.text)
        .join('');
    expect(text('new')).toBe(a);
    expect(text('gone')).toBe(b);
  });
});

describe('readiness', () => {
  const finding = (severity: string): FindingItem => ({
    severity,
    code: 'x',
    message: '',
    hint: '',
    values: {},
  });

  it('is as good as the gravest finding', () => {
    expect(readiness([])).toBe('ready');
    expect(readiness([finding('note')])).toBe('ready');
    expect(readiness([finding('note'), finding('warning')])).toBe('better');
    expect(readiness([finding('warning'), finding('error')])).toBe('blocked');
  });

  it('drops links to pictures that are gone, and only those', () => {
    const turn = (pictureId: string | null) => ({ isUser: false, text: 'Hm.', pictureId });
    const scenes = [{ id: 's', isHeldOut: false, turns: [turn('a'), turn('gone'), turn(null)] }];
    const mended = withoutLostPictures(scenes, ['a']);
    expect(mended?.[0]?.turns.map((t) => t.pictureId)).toEqual(['a', null, null]);
    expect(withoutLostPictures(scenes, ['a', 'gone'])).toBeNull();
  });
});

describe('a crop', () => {
  const size = { width: 300, height: 200 };
  const square = (x: number, y: number, side: number) => ({ x, y, side, background: null });

  it('begins in the centre and stays within the picture', () => {
    expect(centre(size)).toEqual(square(50, 0, 200));
    expect(within(square(250, -9, 120), size, 64)).toEqual(square(180, 0, 120));
    expect(within(square(0, 0, 900), size, 64).side).toBe(200);
    expect(within(square(0, 0, 1), size, 64).side).toBe(64);
    expect(zoomed(square(100, 50, 100), 80, size, 64)).toEqual(square(110, 60, 80));
  });

  it('leaves the bars of a whole picture behind when it is cut again', () => {
    expect(within(around(size, [1, 2, 3]), size, 64)).toEqual(square(0, 0, 200));
  });

  it('holds a whole picture in its middle', () => {
    expect(around(size, [1, 2, 3])).toEqual({ x: 0, y: -50, side: 300, background: [1, 2, 3] });
    // 201 wide in 300: 99 are left, one more on the left.
    expect(around({ width: 201, height: 300 }, [0, 0, 0])).toMatchObject({ x: -50, y: 0, side: 300 });
    expect(around({ width: 64, height: 64 }, [0, 0, 0])).toMatchObject({ x: 0, y: 0, side: 64 });
  });

  it('is previewed at the size that is learned from', () => {
    // 300 pixels become 150: half of everything, 25 above and below.
    expect(placed(around(size, [0, 0, 0]), size, 150)).toEqual({ x: 0, y: 25, width: 150, height: 100 });
    // 100 pixels become 50; the square begins at (100, 40) of the picture.
    expect(placed(square(100, 40, 100), size, 50)).toEqual({ x: -50, y: -20, width: 150, height: 100 });
  });

  it('has a background that colour fields can show and change', () => {
    expect(hex([255, 0, 9])).toBe('#ff0009');
    expect(fromHex('#FF0009')).toEqual([255, 0, 9]);
    for (const text of ['', 'red', '#fff', '#ff00091']) expect(fromHex(text)).toBeNull();
  });
});

describe('the token counter', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it('asks once, a moment after the last key, and remembers', async () => {
    const countTokens = vi.fn<Client['countTokens']>((texts) => Promise.resolve(texts.map((x) => x.length)));
    const counter = new TokenCounter({ countTokens } as unknown as Client);
    for (const text of ['s', 'sn', 'snail']) counter.want([text, '']);
    await vi.advanceTimersByTimeAsync(500);
    expect(countTokens.mock.calls).toEqual([[['snail']]]);
    expect(counter.sum(['snail', ''])).toBe(5);
    expect(counter.sum(['snail', 'other'])).toBeNull();
    counter.want(['snail']);
    await vi.advanceTimersByTimeAsync(500);
    expect(countTokens).toHaveBeenCalledOnce();
  });
});
