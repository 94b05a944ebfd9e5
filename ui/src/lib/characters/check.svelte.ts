/** What was found in a character, as of its last saved state. */
import type { FindingItem } from '../ipc/bindings/FindingItem';
import type { Client } from '../ipc/client';

export class CharacterCheck {
  findings = $state<FindingItem[] | null>(null);
  #round = 0;

  constructor(readonly client: Client) {}

  /** Reads anew; an older answer that comes late is dropped. */
  async read(id: string): Promise<void> {
    const round = ++this.#round;
    const findings = await this.client.checkCharacter(id).catch(() => null);
    if (round === this.#round && findings) this.findings = findings;
  }
}
