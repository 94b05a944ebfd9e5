/** An item that models answer, beside the item's own answer. */
import { Comparison } from '../chat/compare.svelte';
import type { MaterialItem } from '../ipc/bindings/MaterialItem';
import type { MaterialKind } from '../ipc/bindings/MaterialKind';
import type { Client } from '../ipc/client';

/** Kinds whose picture the model has to look at. */
const looks: MaterialKind[] = ['pictureQuestion', 'pictureChoice'];

/** Whether answering wants a look at a picture. */
export const needsEyes = (item: MaterialItem): boolean => looks.includes(item.row.kind);

/** Whether the answer can come with a picture. */
export const mayDraw = (item: MaterialItem): boolean => item.row.kind === 'pictureScene';

/** Why an item cannot be tried: it holds nothing to answer. */
export const isMute = (item: MaterialItem): boolean =>
  item.question !== null
    ? item.question.dropped !== null
    : item.checks.length === 0 && item.turns.length > 0 && !item.turns.some((turn) => !turn.isUser);

/** The letter that an answer to a multiple-choice question begins with, if it does. */
export function letterOf(answer: string, letters: string[]): string | null {
  const found = /^[\s"'([*]*([A-Za-z])(?![A-Za-z])/.exec(answer)?.[1]?.toUpperCase();
  return found && letters.includes(found) ? found : null;
}

export class Trial {
  readonly comparison: Comparison;
  /** What the model was asked, as it read it. */
  prompt = $state('');

  constructor(readonly client: Client) {
    this.comparison = new Comparison(client);
  }

  async run(
    item: MaterialItem,
    adapters: (string | null)[],
    seed: number,
    withPicture: boolean,
  ): Promise<void> {
    const { characterId, kind, id } = item.row;
    const sides = adapters.map((adapter) => ({ characterId, adapter }));
    await this.comparison.start(sides, async (on) => {
      const trying = await this.client.tryMaterial(
        { characterId, kind, id, adapters, seed, withPicture },
        on,
      );
      this.prompt = trying.prompt;
      return trying.id;
    });
  }
}
