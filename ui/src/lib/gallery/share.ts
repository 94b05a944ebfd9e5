/** Copies of pictures for others. */
import type { App } from '../app.svelte';
import { t } from '../messages/index.svelte';

const KEY = 'share-origin';

/** Whether copies say how they were made; the person's last choice, yes at first. */
export function sharesOrigin(): boolean {
  return localStorage.getItem(KEY) !== 'no';
}

export function setSharesOrigin(value: boolean): void {
  localStorage.setItem(KEY, value ? 'yes' : 'no');
}

/** Saves copies where the person chooses. */
export async function savePictures(app: App, ids: string[]): Promise<void> {
  await app.attempt(async () => {
    const count = await app.client.savePictures(ids, sharesOrigin());
    if (count !== null) app.tell(t('gallerySaved', { count }));
  });
}
