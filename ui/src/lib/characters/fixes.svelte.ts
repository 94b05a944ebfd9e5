/** Buttons that mend what a check found. */
import type { App } from '../app.svelte';
import type { FindingItem } from '../ipc/bindings/FindingItem';
import { t } from '../messages/index.svelte';
import { named } from './bulk';
import type { CharacterEditor } from './editor.svelte';
import { fixOf, withoutLostPictures, type Tab } from './readiness';

export type Mend = { label: string; act: () => void };

async function nameCaptions(app: App, editor: CharacterEditor): Promise<void> {
  const changed = named(editor.detail.pictures, editor.draft.name);
  const undo = await editor.updatePictures(changed);
  app.tell(t('captionsChanged', { count: changed.length }), undo);
}

function dropLostPictures(app: App, editor: CharacterEditor): void {
  const before = $state.snapshot(editor.scenes);
  const ids = editor.detail.pictures.map((p) => p.id);
  const mended = withoutLostPictures(before, ids);
  if (!mended) return;
  editor.scenes = mended;
  editor.touchScenes();
  app.tell(t('lostPicturesDropped'), async () => {
    editor.scenes = before;
    editor.touchScenes();
  });
}

/** The button for a finding; null where there is nothing to press. */
export function mend(
  app: App,
  editor: CharacterEditor,
  finding: FindingItem,
  show: (tab: Tab) => void,
): Mend | null {
  const fix = fixOf(finding);
  switch (fix?.act) {
    case undefined:
      return null;
    case 'nameCaptions':
      return { label: t('fixNames'), act: () => void app.attempt(() => nameCaptions(app, editor)) };
    case 'dropLostPictures':
      return { label: t('fixLost'), act: () => dropLostPictures(app, editor) };
    case 'addPictures':
      return {
        label: t('addPictures'),
        act: () => {
          show(fix?.tab ?? 'pictures');
          void app.attempt(async () => editor.addPaths(await app.client.pickPictures()));
        },
      };
    case 'go':
      return { label: t('fixGo'), act: () => show(fix?.tab ?? 'persona') };
  }
}
