/** Copies of pictures for others. */
import type { App, Carried } from '../app.svelte';
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

/** Shows the file of a picture in the file manager. */
export async function showPicture(app: App, id: string): Promise<void> {
  await app.attempt(async () => {
    await app.client.showPicture(id, sharesOrigin());
  });
}

/** Remembers what is dragged until it is dropped, here or elsewhere: only then does the pointer move freely. */
export function carry(app: App, what: Carried): void {
  app.carried = what;
  const moved = (event: PointerEvent) => {
    if (event.buttons !== 0) return;
    app.carried = null;
    window.removeEventListener('pointermove', moved);
  };
  window.addEventListener('pointermove', moved);
}

/** Drags a picture to another program as a file; the page's own drag, which has none, gives way. */
export function dragPicture(app: App, event: DragEvent, id: string): void {
  event.preventDefault();
  carry(app, { picture: id });
  void app.attempt(async () => {
    await app.client.dragPicture(id, sharesOrigin());
  });
}
