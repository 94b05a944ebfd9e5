/** Scenes made of chats, and their way back. */
import type { CharacterDetail } from '../ipc/bindings/CharacterDetail';
import type { PictureItem } from '../ipc/bindings/PictureItem';
import type { SceneItem } from '../ipc/bindings/SceneItem';
import type { Client } from '../ipc/client';

const shownBy = (scene: SceneItem) => scene.turns.flatMap((turn) => turn.pictureId ?? []);

/** Pictures that came with `scene`: not there `before`, and in none of the `other` scenes. */
export function broughtBy(scene: SceneItem, before: PictureItem[], others: SceneItem[]): string[] {
  const kept = new Set([...before.map((picture) => picture.id), ...others.flatMap(shownBy)]);
  return [...new Set(shownBy(scene))].filter((id) => !kept.has(id));
}

/** Makes a scene of a chat with its pictures; `undo` takes both out again. */
export async function sceneFromChat(
  client: Client,
  chat: { id: string; characterId: string },
): Promise<{ made: CharacterDetail; undo: () => Promise<void> }> {
  const before = await client.getCharacter(chat.characterId);
  const made = await client.sceneFromChat(chat.id, true);
  const scene = made.scenes[0];
  const undo = async () => {
    if (!scene) return;
    const { scenes } = await client.getCharacter(made.id);
    const others = scenes.filter((other) => other.id !== scene.id);
    await client.saveScenes(made.id, others);
    for (const id of broughtBy(scene, before.pictures, others)) await client.removePicture(made.id, id);
  };
  return { made, undo };
}
