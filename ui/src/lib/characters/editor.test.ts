import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { CharacterDetail } from '../ipc/bindings/CharacterDetail';
import type { CharacterDraft } from '../ipc/bindings/CharacterDraft';
import type { CropItem } from '../ipc/bindings/CropItem';
import type { Client } from '../ipc/client';
import { CharacterEditor } from './editor.svelte';

const draft: CharacterDraft = {
  name: 'Dot',
  persona: '',
  speakingStyle: '',
  habits: '',
  catchphrases: [],
  tabooWords: [],
  exampleLines: [],
  appearance: '',
  outfit: '',
  colours: '',
  expressions: [],
  greeting: '',
  otherGreetings: [],
  notes: '',
};

function detail(id: string): CharacterDetail {
  return { id, draft, scenes: [], pictures: [], adapters: [] } as unknown as CharacterDetail;
}

function editing() {
  const updateCharacter = vi.fn<Client['updateCharacter']>((id) => Promise.resolve(detail(id)));
  const onChange = vi.fn();
  const editor = new CharacterEditor({ updateCharacter } as unknown as Client, detail('dot'), onChange);
  return { editor, updateCharacter, onChange };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('the character editor', () => {
  it('saves once, a moment after the last key', async () => {
    const { editor, updateCharacter } = editing();
    for (const persona of ['A', 'A s', 'A snail']) {
      editor.draft.persona = persona;
      editor.touchDraft();
      await vi.advanceTimersByTimeAsync(300);
    }
    expect(updateCharacter).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(700);
    expect(updateCharacter).toHaveBeenCalledOnce();
    expect(updateCharacter.mock.calls[0]?.[1].persona).toBe('A snail');
    expect(editor.saveState).toBe('saved');
  });

  it('keeps what was typed when saving fails, and saves it the next time', async () => {
    const { editor, updateCharacter } = editing();
    updateCharacter.mockReturnValueOnce(Promise.reject(new Error('disk full')));
    editor.draft.persona = 'A snail';
    editor.touchDraft();
    await editor.flush();
    expect(editor.saveState).toBe('failed');
    expect(editor.draft.persona).toBe('A snail');
    await editor.flush();
    expect(updateCharacter).toHaveBeenCalledTimes(2);
    expect(editor.saveState).toBe('saved');
  });

  it('follows the copy that editing a bundled character makes', async () => {
    const { editor, updateCharacter, onChange } = editing();
    updateCharacter.mockReturnValueOnce(Promise.resolve(detail('dot-copy')));
    editor.draft.persona = 'A snail';
    editor.touchDraft();
    await editor.flush();
    expect(editor.id).toBe('dot-copy');
    expect(onChange).toHaveBeenCalledWith(expect.objectContaining({ id: 'dot-copy' }), 'dot');
  });

  it('changes captions together and back again', async () => {
    const picture = (caption: string) => ({ id: 'p', caption, expression: '', isHeldOut: false, crop: null });
    const state = { caption: 'a snail' };
    const updatePictures = vi.fn<Client['updatePictures']>((id, pictures) => {
      state.caption = pictures[0]?.caption ?? '';
      return Promise.resolve({ ...detail(id), pictures: [picture(state.caption)] });
    });
    const first = { ...detail('dot'), pictures: [picture('a snail')] };
    const editor = new CharacterEditor({ updatePictures } as unknown as Client, first, vi.fn());
    const undo = await editor.updatePictures([picture('Dot, a snail')]);
    expect(editor.detail.pictures[0]?.caption).toBe('Dot, a snail');
    await undo();
    expect(editor.detail.pictures[0]?.caption).toBe('a snail');
  });

  it('saves what is typed beneath a picture once, and keeps what is typed meanwhile', async () => {
    const picture = { id: 'p', caption: '', expression: '', isHeldOut: false, crop: null };
    let answer = (): void => undefined;
    const updatePictures = vi.fn<Client['updatePictures']>(
      (id, pictures) => new Promise((done) => (answer = () => done({ ...detail(id), pictures }))),
    );
    const first = { ...detail('dot'), pictures: [picture] };
    const editor = new CharacterEditor({ updatePictures } as unknown as Client, first, vi.fn());
    editor.touchPicture('p', { caption: 'a' });
    editor.touchPicture('p', { expression: 'calm' });
    editor.touchPicture('p', { caption: 'a snail' });
    expect(editor.detail.pictures[0]?.caption).toBe('a snail');
    await vi.advanceTimersByTimeAsync(700);
    editor.touchPicture('p', { caption: 'a snail at dusk' });
    answer();
    await vi.advanceTimersByTimeAsync(0);
    expect(editor.saveState).toBe('dirty');
    expect(editor.detail.pictures[0]?.caption).toBe('a snail at dusk');
    const flushed = editor.flush();
    await vi.advanceTimersByTimeAsync(0);
    answer();
    await flushed;
    expect(editor.saveState).toBe('saved');
    expect(updatePictures.mock.calls.map(([, [sent]]) => [sent?.caption, sent?.expression])).toEqual([
      ['a snail', 'calm'],
      ['a snail at dusk', 'calm'],
    ]);
  });

  it('keeps what is typed beneath a picture when saving fails', async () => {
    const picture = { id: 'p', caption: '', expression: '', isHeldOut: false, crop: null };
    const updatePictures = vi
      .fn<Client['updatePictures']>((id, pictures) => Promise.resolve({ ...detail(id), pictures }))
      .mockImplementationOnce(() => Promise.reject(new Error('disk full')));
    const first = { ...detail('dot'), pictures: [picture] };
    const editor = new CharacterEditor({ updatePictures } as unknown as Client, first, vi.fn());
    editor.touchPicture('p', { caption: 'a snail' });
    await editor.flush();
    expect(editor.saveState).toBe('failed');
    await editor.flush();
    expect(updatePictures.mock.lastCall?.[1][0]?.caption).toBe('a snail');
    expect(editor.saveState).toBe('saved');
  });

  it('crops a picture and brings its former crop back', async () => {
    const square = (x: number) => ({ x, y: 0, side: 64, background: null });
    const cropped = (crop: CropItem | null) => ({ ...detail('dot'), pictures: [{ id: 'p', crop }] });
    const cropPicture = vi.fn((_id: string, _pictureId: string, crop: CropItem | null) =>
      Promise.resolve(cropped(crop)),
    );
    const first = cropped(square(1)) as CharacterDetail;
    const editor = new CharacterEditor({ cropPicture } as unknown as Client, first, vi.fn());
    const undo = await editor.cropPicture('p', null);
    expect(editor.detail.pictures[0]?.crop).toBeNull();
    await undo();
    expect(cropPicture).toHaveBeenLastCalledWith('dot', 'p', square(1));
    expect(editor.detail.pictures[0]?.crop).toEqual(square(1));
  });

  it('takes over a version that was brought back', async () => {
    const { editor } = editing();
    editor.draft.persona = 'A cat';
    const old = { ...detail('dot'), draft: { ...draft, persona: 'A snail' } };
    await editor.replace(() => Promise.resolve(old));
    expect(editor.draft.persona).toBe('A snail');
    expect(editor.saveState).toBe('saved');
  });
});
