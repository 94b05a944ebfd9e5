import { expect, it, vi } from 'vitest';
import type { CharacterDetail } from '../ipc/bindings/CharacterDetail';
import type { SceneItem } from '../ipc/bindings/SceneItem';
import type { Client } from '../ipc/client';
import { sceneFromChat } from './fromChat';

const scene = (id: string, ...pictures: (string | null)[]): SceneItem => ({
  id,
  turns: pictures.map((pictureId) => ({ isUser: false, text: 'Woof', pictureId }) as SceneItem['turns'][0]),
  isHeldOut: false,
});

it('takes a scene back with the pictures that it brought, and no others', async () => {
  let [scenes, pictures] = [[scene('old', 'shared')], ['portrait', 'shared']];
  const detail = () =>
    ({ id: 'own', scenes, pictures: pictures.map((id) => ({ id })) }) as unknown as CharacterDetail;
  const client = {
    getCharacter: () => Promise.resolve(detail()),
    sceneFromChat: () => {
      // The portrait was drawn in this chat, too: it is there already and is used again.
      scenes = [scene('new', 'drawn', null, 'portrait', 'drawn', 'liked'), ...scenes];
      pictures = [...pictures, 'drawn', 'liked'];
      return Promise.resolve(detail());
    },
    saveScenes: (_: string, wanted: SceneItem[]) => {
      scenes = wanted;
      return Promise.resolve(detail());
    },
    removePicture: vi.fn<Client['removePicture']>((_, id) => {
      pictures = pictures.filter((known) => known !== id);
      return Promise.resolve(detail());
    }),
  };
  const { undo } = await sceneFromChat(client as unknown as Client, { id: 'c', characterId: 'own' });
  expect(pictures).toEqual(['portrait', 'shared', 'drawn', 'liked']);
  scenes = [scene('later', 'liked'), ...scenes]; // by now another scene shows one of them
  await undo();
  expect(scenes.map(({ id }) => id)).toEqual(['later', 'old']);
  expect(pictures).toEqual(['portrait', 'shared', 'liked']);
  expect(client.removePicture.mock.calls).toEqual([['own', 'drawn']]);
});
