/** What was found in a character, as of its last saved state. */
import type { ApiError } from '../ipc/bindings/ApiError';
import type { FindingItem } from '../ipc/bindings/FindingItem';
import { asApiError, type Client } from '../ipc/client';

export class CharacterCheck {
  findings = $state<FindingItem[] | null>(null);
  /** Why they could not be read; those of before stay. */
  error = $state<ApiError | null>(null);
  #round = 0;

  constructor(readonly client: Client) {}

  /** Reads anew; an older answer that comes late is dropped. */
  async read(id: string): Promise<void> {
    const round = ++this.#round;
    try {
      const findings = await this.client.checkCharacter(id);
      if (round === this.#round) [this.findings, this.error] = [findings, null];
    } catch (error) {
      if (round === this.#round) this.error = asApiError(error);
    }
  }
}
