/** Ways to a new character from anywhere in the window. */
import { tick } from 'svelte';
import type { App } from '../app.svelte';
import { t } from '../messages/index.svelte';
import { emptyDraft } from './draft';

/** Makes an empty character and opens it. */
export async function createCharacter(app: App): Promise<void> {
  const made = await app.client.createCharacter({ ...emptyDraft, name: t('unnamed') });
  await app.refresh();
  await app.go('characters', made.id);
}

/** Asks for a RoleScape folder in the place that shows what became of it. */
export async function importRolescape(app: App): Promise<void> {
  await app.go('characters');
  await tick();
  app.actions.importRolescape?.();
}

/** Asks for character cards in the place that shows what became of them. */
export async function importCards(app: App): Promise<void> {
  await app.go('characters');
  await tick();
  app.actions.importCards?.();
}
