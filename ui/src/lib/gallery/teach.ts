/** Drawn pictures as pictures to learn from. */
import type { App } from '../app.svelte';
import { t } from '../messages/index.svelte';

/** Adds a picture to those that its character, called `name`, learns from. */
export async function teachPicture(app: App, id: string, name: string): Promise<void> {
  await teach(app, [id], (numNew) => t(numNew > 0 ? 'galleryTrainAdded' : 'galleryTrainKnown', { name }));
}

/** Adds pictures to those that their characters learn from: one notice, whose undo takes all back. */
export async function teachPictures(app: App, ids: string[]): Promise<void> {
  await teach(app, ids, (count, known) => {
    if (count === 0) return t('galleryTrainNone');
    return known > 0 ? t('galleryTrainSome', { count, known }) : t('galleryTrainMany', { count });
  });
}

async function teach(
  app: App,
  ids: string[],
  words: (numNew: number, numKnown: number) => string,
): Promise<void> {
  const made: { characterId: string; pictureId: string }[] = [];
  let numKnown = 0;
  const undo = async () => {
    for (const { characterId, pictureId } of made) await app.client.removePicture(characterId, pictureId);
    await app.refresh();
  };
  await app.attempt(async () => {
    for (const id of ids) {
      const { character, pictureId, isNew } = await app.client.addToTraining(id);
      if (isNew) made.push({ characterId: character.id, pictureId });
      else numKnown += 1;
    }
  });
  await app.refresh();
  // Where one failed, those before it were added.
  if (made.length > 0) app.tell(words(made.length, numKnown), undo);
  else if (numKnown > 0) app.tell(words(0, numKnown));
}
